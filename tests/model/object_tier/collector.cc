// A collector's cycle.
//
//   1  For each pin that is past its time: PUT a void at its number, if absent; DELETE the pin. A
//      412 is as good: what is there is the push's manifest, which protects the objects itself, or
//      something that keeps the manifest away for good.
//   2  LIST the objects. For each that nothing references: PUT a tombstone.
//   3  LIST and GET the pins, then the records.
//   4  Still nothing references it: DELETE the object, HEAD until 404, DELETE the tombstone. Else
//      DELETE the tombstone.
//   5  Tombstones of other collectors whose object is gone: DELETE them.
//
// A collector that gives up leaves its tombstone where it is.
//
// Here a cycle deals with one object, any one. A real cycle makes many tombstones, reads once, and
// deletes many objects. What it does to one object is what a cycle of this model does that is
// slower between the steps, and two cycles can deal with two objects. Which pins are past their
// time is open: any, at any moment. So the protocol's safety does not depend on clocks.
#include "successors.h"

namespace lamina::object_tier_model {

namespace {

class Collect {
 public:
  Collect(Successors& successors, int collector)
      : successors_(successors),
        config_(successors.config()),
        from_(successors.from()),
        collector_(collector),
        actor_(collector == 0 ? Actor::kFirstCollector : Actor::kSecondCollector),
        state_(from_.collectors[collector]) {}

  void step() {
    switch (state_.step) {
      case CollectStep::kEnded:
        return;
      case CollectStep::kChoose:
        return choose();
      case CollectStep::kPutVoid:
        return put_void();
      case CollectStep::kDeletePin:
        return delete_pin();
      case CollectStep::kFirstPins:
      case CollectStep::kSecondPins:
        return read_pins();
      case CollectStep::kFirstRecords:
      case CollectStep::kSecondRecords:
        return read_records();
      case CollectStep::kPutTombstone:
        return put_tombstone();
      case CollectStep::kDelete:
        return delete_object();
      case CollectStep::kHeadDeleted:
        return head_deleted();
      case CollectStep::kDropTombstone:
        return drop_tombstone();
      case CollectStep::kHeadOfOther:
        return head_of_other();
      case CollectStep::kDropOther:
        return drop_other();
    }
  }

 private:
  [[nodiscard]] bool mutated(Mutation by) const { return config_.mutated(by); }
  Collector& state(World& world) const { return world.collectors[collector_]; }

  void go(World& world, CollectStep step, int cursor = 0) const {
    state(world).step = step;
    state(world).cursor = cursor;
  }

  void end_cycle(World& world) const {
    const int next = state_.cycle + 1;
    state(world) = Collector();
    if (next == config_.cycles) return;
    state(world).cycle = next;
    state(world).step = CollectStep::kChoose;
  }

  [[nodiscard]] int tombstone() const {
    return mutated(Mutation::kTombstoneNameUsedAgain) ? collector_ * 2
                                                      : collector_ * 2 + state_.cycle;
  }

  // What a cycle begins with. A collector may also stay here for ever.
  void choose() {
    for (int pin = 0; pin < kPins; ++pin) {
      if (may_expire(pin)) choose_pin(pin);
    }
    for (int object = 0; object < kObjects; ++object) {
      if (from_.bucket.objects.has(object)) choose_object(object);
    }
    for (int tombstone = 0; tombstone < kTombstones; ++tombstone) {
      if (from_.bucket.tombstones[tombstone] > 0) choose_tombstone(tombstone);
    }
  }

  /// A puller that runs renews its pin.
  [[nodiscard]] bool may_expire(int pin) const {
    if (!from_.bucket.pins.has(pin) || !config_.expiry) return false;
    if (mutated(Mutation::kPinsNeverExpire)) return false;
    return pin != kPullersPin || from_.puller.step == PullStep::kEnded;
  }

  void choose_pin(int pin) {
    Successor& next =
        successors_.read(actor_, "LIST pins, past its time: pin", pin, Answer::kFound);
    const bool has_void = pin != kPullersPin && !mutated(Mutation::kNoVoid) &&
                          !mutated(Mutation::kPinCheckInsteadOfVoid) &&
                          !mutated(Mutation::kPinDeletedBeforeVoid);
    go(next.world, has_void ? CollectStep::kPutVoid : CollectStep::kDeletePin, pin);
  }

  void choose_object(int object) {
    Successor& next = successors_.read(actor_, "LIST objects, object", object, Answer::kFound);
    state(next.world).object = object;
    if (config_.first_read || mutated(Mutation::kNoSecondRead)) {
      begin_read(next.world, CollectStep::kFirstPins);
    } else if (mutated(Mutation::kNoTombstone)) {
      begin_read(next.world, CollectStep::kSecondPins);
    } else {
      go(next.world, CollectStep::kPutTombstone);
    }
  }

  void choose_tombstone(int tombstone) {
    if (mutated(Mutation::kTombstonesOfGoneObjectsStay)) return;
    Successor& next =
        successors_.read(actor_, "LIST tombstones, tombstone", tombstone, Answer::kFound);
    state(next.world).object = from_.bucket.tombstones[tombstone] - 1;
    go(next.world, CollectStep::kHeadOfOther, tombstone);
  }

  // 1
  void put_void() {
    const int pin = state_.cursor;
    const Request request(Verb::kPutRecord, config_.name_of_push(pin), from_.numbers[pin], kVoid);
    successors_.send(
        actor_, request,
        [&](Successor& next, bool) {
          if (mutated(Mutation::kPinDeletedBeforeVoid)) {
            go(next.world, CollectStep::kChoose);
          } else {
            go(next.world, CollectStep::kDeletePin, pin);
          }
        },
        [&](Successor& next, bool gives_up) {
          if (gives_up) end_cycle(next.world);
        });
  }

  void delete_pin() {
    const int pin = state_.cursor;
    const auto go_on = [&](Successor& next, bool) {
      if (mutated(Mutation::kPinDeletedBeforeVoid) && pin != kPullersPin) {
        go(next.world, CollectStep::kPutVoid, pin);
      } else {
        go(next.world, CollectStep::kChoose);
      }
    };
    successors_.send(actor_, Request(Verb::kDeletePin, pin), go_on, go_on);
  }

  // 2
  void put_tombstone() {
    const Request request(Verb::kPutTombstone, tombstone(), state_.object);
    successors_.send(
        actor_, request,
        [&](Successor& next, bool) {
          if (mutated(Mutation::kNoSecondRead)) {
            go(next.world, CollectStep::kDelete);
          } else {
            begin_read(next.world, CollectStep::kSecondPins);
          }
        },
        [&](Successor& next, bool gives_up) {
          if (gives_up) end_cycle(next.world);
        });
  }

  // 3. A read starts with kFirstPins or kSecondPins; the mutation turns the order around.
  [[nodiscard]] bool is_first_read() const {
    return state_.step == CollectStep::kFirstPins || state_.step == CollectStep::kFirstRecords;
  }

  void begin_read(World& world, CollectStep pins) const {
    if (!mutated(Mutation::kRecordsBeforePins)) return go(world, pins);
    go(world,
       pins == CollectStep::kFirstPins ? CollectStep::kFirstRecords : CollectStep::kSecondRecords);
  }

  void end_pins(World& world) const {
    if (mutated(Mutation::kRecordsBeforePins)) return end_read(world);
    go(world, is_first_read() ? CollectStep::kFirstRecords : CollectStep::kSecondRecords);
  }

  void end_records(World& world) const {
    if (!mutated(Mutation::kRecordsBeforePins)) return end_read(world);
    go(world, is_first_read() ? CollectStep::kFirstPins : CollectStep::kSecondPins);
  }

  void end_read(World& world) const {
    go(world, is_first_read() ? CollectStep::kPutTombstone : CollectStep::kDelete);
  }

  void find_reference(World& world) const {
    if (is_first_read() || mutated(Mutation::kNoTombstone)) {
      end_cycle(world);
    } else {
      go(world, CollectStep::kDropTombstone);
    }
  }

  /// A mutation takes a failed read of a key for its absence.
  void skip_unreadable(int cursor) {
    if (!mutated(Mutation::kReadErrorIsAbsent) || from_.lost_answers == 0) return;
    Successor& next = successors_.read(actor_, "GET, a 500, key", cursor, Answer::kNotFound);
    next.world.lost_answers = from_.lost_answers - 1;
    state(next.world).cursor = cursor;
  }

  void read_pins() {
    const int pin = from_.bucket.next_pin(state_.cursor);
    if (pin == kPins) {
      Successor& next =
          successors_.read(actor_, "LIST pins from", state_.cursor, Answer::kNotFound);
      return end_pins(next.world);
    }
    Successor& next = successors_.read(actor_, "LIST pins, pin", pin, Answer::kFound);
    state(next.world).cursor = pin + 1;
    if (protects(config_, from_, pin).has(state_.object)) find_reference(next.world);
    skip_unreadable(pin + 1);
  }

  void read_records() {
    // The cursor: name and number.
    int name = state_.cursor / 8;
    int number = from_.bucket.next_record(name, state_.cursor % 8);
    while (number == 0 && ++name < kNames) number = from_.bucket.next_record(name, 0);
    if (number == 0) {
      Successor& next =
          successors_.read(actor_, "LIST records from", state_.cursor, Answer::kNotFound);
      return end_records(next.world);
    }
    const int cursor = name * 8 + number;
    Successor& next = successors_.read(actor_, "LIST records, number", cursor, Answer::kFound);
    state(next.world).cursor = cursor;
    const int record = from_.bucket.record(name, number);
    if (references(from_, record).has(state_.object)) find_reference(next.world);
    skip_unreadable(cursor);
  }

  // 4
  void delete_object() {
    const auto answered = [&](Successor& next, bool) {
      if (mutated(Mutation::kNoTombstone)) return end_cycle(next.world);
      go(next.world, CollectStep::kHeadDeleted);
    };
    const auto unknown = [&](Successor& next, bool gives_up) {
      if (gives_up || mutated(Mutation::kNoTombstone)) return end_cycle(next.world);
      go(next.world, mutated(Mutation::kDropTombstoneBeforeGone) ? CollectStep::kDropTombstone
                                                                 : CollectStep::kHeadDeleted);
    };
    successors_.send(actor_, Request(Verb::kDeleteObject, state_.object), answered, unknown);
  }

  void head_deleted() {
    const bool found = from_.bucket.objects.has(state_.object);
    Successor& next = successors_.read(actor_, "HEAD object", state_.object,
                                       found ? Answer::kFound : Answer::kNotFound);
    go(next.world, found ? CollectStep::kDelete : CollectStep::kDropTombstone);
    if (!mutated(Mutation::kHeadErrorIsGone) || from_.lost_answers == 0) return;
    Successor& wrong =
        successors_.read(actor_, "HEAD, a 500, object", state_.object, Answer::kNotFound);
    wrong.world.lost_answers = from_.lost_answers - 1;
    go(wrong.world, CollectStep::kDropTombstone);
  }

  void drop_tombstone() {
    const auto go_on = [this](Successor& next, bool) { end_cycle(next.world); };
    successors_.send(actor_, Request(Verb::kDeleteTombstone, tombstone(), state_.object), go_on,
                     go_on);
  }

  // 5
  void head_of_other() {
    const bool found = from_.bucket.objects.has(state_.object);
    Successor& next = successors_.read(actor_, "HEAD object", state_.object,
                                       found ? Answer::kFound : Answer::kNotFound);
    if (found && !mutated(Mutation::kDropTombstonesOfOthers)) return end_cycle(next.world);
    go(next.world, CollectStep::kDropOther, state_.cursor);
  }

  void drop_other() {
    const auto go_on = [this](Successor& next, bool) { end_cycle(next.world); };
    successors_.send(actor_, Request(Verb::kDeleteTombstone, state_.cursor, state_.object), go_on,
                     go_on);
  }

  Successors& successors_;
  const Config& config_;
  const World& from_;
  int collector_;
  Actor actor_;
  const Collector& state_;
};

}  // namespace

void collect(Successors& successors, int collector) { Collect(successors, collector).step(); }

}  // namespace lamina::object_tier_model
