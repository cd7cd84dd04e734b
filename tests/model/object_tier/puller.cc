// A pull of the newest state of a name.
//
//   1  LIST the records; the newest one that is not a void. A removal, or none: no such snapshot.
//   2  GET the manifest. 404: removed meanwhile.
//   3  A pull that lasts (a VM runs while its memory is fetched): PUT a pin that names the
//   manifest's
//      objects; for each, LIST its tombstones, then HEAD it, as a push does. Then the objects stay
//      until the pin is dropped, whatever becomes of the snapshot. A tombstone: the pull goes on,
//      without that promise.
//   4  GET the objects.
#include "successors.h"

namespace lamina::object_tier_model {

namespace {

class Pull {
 public:
  explicit Pull(Successors& successors)
      : successors_(successors),
        config_(successors.config()),
        from_(successors.from()),
        state_(from_.puller) {}

  void step() {
    switch (state_.step) {
      case PullStep::kEnded:
        return;
      case PullStep::kList:
        return list();
      case PullStep::kGetManifest:
        return get_manifest();
      case PullStep::kPutPin:
        return put_pin();
      case PullStep::kListTombstones:
        return list_tombstones();
      case PullStep::kHead:
        return head();
      case PullStep::kGetObject:
        return get_object();
      case PullStep::kDropPin:
        return drop_pin();
    }
  }

 private:
  [[nodiscard]] bool mutated(Mutation by) const { return config_.mutated(by); }
  [[nodiscard]] bool is_pin_last() const { return mutated(Mutation::kPullPinAfterCheck); }

  void end(Successor& next, const char* remark) const {
    kill(next.world, Actor::kPuller);
    next.event.remark = remark;
  }

  void go(World& world, PullStep step, int part = 0) const {
    world.puller.step = step;
    world.puller.cursor = part;
  }

  /// The object of the part that is dealt with; kNoObject: it has none.
  [[nodiscard]] int object() const {
    if (state_.seen == kInitialManifest) return state_.cursor == 0 ? 0 : kNoObject;
    return from_.object_of(state_.seen - kFirstManifest, state_.cursor);
  }

  // 1
  void list() {
    const int number = from_.bucket.next_record(0, state_.cursor);
    if (number > 0) {
      Successor& next =
          successors_.read(Actor::kPuller, "LIST records, number", number, Answer::kFound);
      next.world.puller.cursor = number;
      const int record = from_.bucket.record(0, number);
      if (!is_state(record) && !mutated(Mutation::kPullTakesVoidForState)) return;
      next.world.puller.number = number;
      next.world.puller.seen = record;
      return;
    }
    Successor& next =
        successors_.read(Actor::kPuller, "LIST records after", state_.cursor, Answer::kNotFound);
    if (is_manifest(state_.seen)) return go(next.world, PullStep::kGetManifest);
    if (!from_.history.stored_removal() && !config_.initially_removed) {
      next.violation = Violation::kPullFailed;
    }
    end(next, "no such snapshot");
  }

  // 2
  void get_manifest() {
    const bool found = from_.bucket.record(0, state_.number) == state_.seen;
    Successor& next = successors_.read(Actor::kPuller, "GET manifest", state_.number,
                                       found ? Answer::kFound : Answer::kNotFound);
    if (!found) return fail(next);
    next.world.puller.number = 0;
    if (config_.puller == PullMode::kPlain) return go(next.world, PullStep::kGetObject);
    go(next.world, is_pin_last() ? PullStep::kListTombstones : PullStep::kPutPin);
  }

  // 3
  void put_pin() {
    successors_.send(
        Actor::kPuller, Request(Verb::kPutPin, kPullersPin),
        [&](Successor& next, bool) {
          next.world.puller.is_protected = is_pin_last() ? 1 : 0;
          go(next.world, is_pin_last() ? PullStep::kGetObject : PullStep::kListTombstones);
        },
        [&](Successor& next, bool gives_up) {
          if (gives_up) go(next.world, PullStep::kGetObject);
        });
  }

  void list_tombstones() {
    if (object() == kNoObject) return skip_part(PullStep::kListTombstones);
    const bool found = from_.bucket.has_tombstone(object());
    Successor& next = successors_.read(Actor::kPuller, "LIST tombstones of object", object(),
                                       found ? Answer::kFound : Answer::kNotFound);
    go(next.world, found ? PullStep::kGetObject : PullStep::kHead, found ? 0 : +state_.cursor);
  }

  void head() {
    const bool found = from_.bucket.objects.has(object());
    Successor& next = successors_.read(Actor::kPuller, "HEAD object", object(),
                                       found ? Answer::kFound : Answer::kNotFound);
    if (!found) return fail(next);
    after_part(next.world, PullStep::kListTombstones);
  }

  void after_part(World& world, PullStep step) const {
    if (state_.cursor == 0) return go(world, step, 1);
    if (step == PullStep::kGetObject) return go(world, PullStep::kDropPin);
    if (is_pin_last()) return go(world, PullStep::kPutPin);
    world.puller.is_protected = 1;
    go(world, PullStep::kGetObject);
  }

  void skip_part(PullStep step) {
    Successor& next = successors_.read(Actor::kPuller, "has no part", state_.cursor, Answer::kDone);
    after_part(next.world, step);
  }

  // 4
  void get_object() {
    if (object() == kNoObject) return skip_part(PullStep::kGetObject);
    const bool found = from_.bucket.objects.has(object());
    Successor& next = successors_.read(Actor::kPuller, "GET object", object(),
                                       found ? Answer::kFound : Answer::kNotFound);
    if (!found) return fail(next);
    after_part(next.world, PullStep::kGetObject);
  }

  /// Only for a snapshot that was removed, and only if no pin protects the pull.
  void fail(Successor& next) const {
    if (state_.is_protected != 0 || !from_.history.removed(state_.seen)) {
      next.violation = Violation::kPullFailed;
    }
    next.event.remark = "fails";
    go(next.world, PullStep::kDropPin);
  }

  void drop_pin() {
    if (config_.puller == PullMode::kPlain) {
      Successor& next = successors_.read(Actor::kPuller, "pull", 0, Answer::kDone);
      return end(next, "ends");
    }
    const auto go_on = [this](Successor& next, bool) { end(next, "ends"); };
    successors_.send(Actor::kPuller, Request(Verb::kDeletePin, kPullersPin), go_on, go_on);
  }

  Successors& successors_;
  const Config& config_;
  const World& from_;
  const Puller& state_;
};

}  // namespace

void pull(Successors& successors) { Pull(successors).step(); }

}  // namespace lamina::object_tier_model
