// A push.
//
//   1  LIST the records after the number of the state that this one descends from. The newest one
//      that is not a void: the manifest of an earlier attempt of this push: go to 6. Another
//      manifest: conflict. The push's number is the next free one.
//   2  PUT the pin: the push's id (part of the name of every object that it will upload), the
//      objects that it wants to reuse, the number.
//   3  For each object to be reused: LIST its tombstones, then HEAD it. A tombstone or 404: the
//      object is uploaded under a name of this push instead.
//   4  PUT the other objects. No answer: again, under the next name.
//   5  PUT the manifest at the number, if absent. No answer: again; 412: GET what is there. Our own
//      nonce, or that of an earlier attempt: stored. Another manifest: conflict. Else (a void, a
//      removal, nothing any more): from 1 with a new pin; what was uploaded is an object to be
//      reused.
//   6  LIST the records after the number: a manifest or a removal means that the number was an old
//      one: conflict. Nothing: the push is acknowledged.
//   7  DELETE the pin. A push that gives up does so too, but not if it has sent a manifest and does
//      not know what became of it: then the pin stays until a collector has decided that. So does
//      the pin of a push that has crashed; its queue begins again from 1 with a new pin.
#include "successors.h"

namespace lamina::object_tier_model {

namespace {

class Push {
 public:
  Push(Successors& successors, int pusher)
      : successors_(successors),
        config_(successors.config()),
        from_(successors.from()),
        pusher_(pusher),
        actor_(pusher == 0 ? Actor::kFirstPusher : Actor::kSecondPusher),
        name_(config_.name_of(pusher)),
        state_(from_.pushers[pusher]),
        push_(from_.push_of(pusher)) {}

  void step() {
    switch (state_.step) {
      case PushStep::kEnded:
        return;
      case PushStep::kListNewer:
        return list_newer();
      case PushStep::kPutPin:
        return put_pin();
      case PushStep::kListTombstones:
        return list_tombstones();
      case PushStep::kHead:
        return head();
      case PushStep::kUpload:
        return upload();
      case PushStep::kPutManifest:
        return put_manifest();
      case PushStep::kGetRecord:
        return get_record();
      case PushStep::kListAfter:
        return list_after();
      case PushStep::kCheckPin:
        return check_pin();
      case PushStep::kDropPin:
        return drop_pin();
      case PushStep::kDropOldPin:
        return drop_old_pin();
    }
  }

 private:
  [[nodiscard]] bool mutated(Mutation by) const { return config_.mutated(by); }
  Pusher& state(World& world) const { return world.pushers[pusher_]; }

  // 1
  void list_newer() {
    const int number = from_.bucket.next_record(name_, state_.cursor);
    if (number > 0) {
      Successor& next =
          successors_.read(actor_, "LIST newer records, number", number, Answer::kFound);
      const int record = from_.bucket.record(name_, number);
      state(next.world).cursor = number;
      if (is_state(record)) state(next.world).newest = record;
      return;
    }
    Successor& next =
        successors_.read(actor_, "LIST newer records after", state_.cursor, Answer::kNotFound);
    if (is_of_earlier_attempt(state_.newest)) return resume_earlier_attempt(next);
    if (is_manifest(state_.newest)) return end_in_conflict(next, PushStep::kEnded);
    if (state_.cursor == kHighestNumber) return finish_without_pin(next.world, Outcome::kFailed);
    next.world.numbers[push_] = state_.cursor + 1;
    state(next.world).newest = 0;
    state(next.world).cursor = 0;
    const bool is_pin_later = mutated(Mutation::kNoPin) || mutated(Mutation::kPinAfterUpload);
    if (is_pin_later) {
      enter_part(next.world, 0);
    } else {
      state(next.world).step = PushStep::kPutPin;
    }
  }

  /// It is the same state; the base of a second push is not listed.
  [[nodiscard]] bool is_of_earlier_attempt(int record) const {
    return !mutated(Mutation::kForgetsEarlierAttempt) && is_manifest(record) &&
           record >= kFirstManifest && (record - kFirstManifest) / kAttempts == pusher_ &&
           record != kFirstManifest + push_;
  }

  /// Its pin, if it is still there, is dropped; that of this attempt is left to expire.
  void resume_earlier_attempt(Successor& next) const {
    next.event.remark = "an earlier attempt was stored";
    state(next.world).attempt = 0;
    state(next.world).newest = 0;
    state(next.world).cursor = next.world.numbers[push_ - 1];
    state(next.world).step = PushStep::kListAfter;
  }

  // 2
  void put_pin() {
    const auto go_on = [this](Successor& next) {
      if (mutated(Mutation::kPinAfterUpload)) {
        state(next.world).step = PushStep::kPutManifest;
      } else {
        enter_part(next.world, 0);
      }
    };
    successors_.send(
        actor_, Request(Verb::kPutPin, push_), [&](Successor& next, bool) { go_on(next); },
        [&](Successor& next, bool gives_up) {
          if (gives_up) finish(next.world, Outcome::kFailed);
        });
  }

  // 3 and 4: from part to part
  [[nodiscard]] bool needs(int part) const { return part == 0 ? config_.reuse : config_.upload; }

  void enter_part(World& world, int part) const {
    while (part < 2 && !needs(part)) ++part;
    state(world).part = part < 2 ? part : 0;
    if (part == 2) return leave_parts(world);
    if (candidate(config_, world, push_, part) == kNoObject) {
      enter_upload(world);
    } else {
      state(world).step = is_head_first() ? PushStep::kHead : PushStep::kListTombstones;
    }
  }

  /// A real push has as many names as it needs.
  void enter_upload(World& world) const {
    if (state(world).names == kNamesPerPush) return finish(world, Outcome::kFailed);
    state(world).step = PushStep::kUpload;
  }

  void leave_parts(World& world) const {
    if (mutated(Mutation::kPinAfterUpload)) {
      state(world).step = PushStep::kPutPin;
    } else if (mutated(Mutation::kDropPinBeforeManifest)) {
      state(world).step = PushStep::kDropPin;
    } else {
      state(world).step = PushStep::kPutManifest;
    }
  }

  [[nodiscard]] bool is_head_first() const {
    return mutated(Mutation::kHeadBeforeTombstones) || mutated(Mutation::kNoTombstoneCheck);
  }

  void reuse(World& world, int object) const {
    world.set_object(push_, state_.part, object);
    enter_part(world, state_.part + 1);
  }

  void list_tombstones() {
    const int object = candidate(config_, from_, push_, state_.part);
    const bool found = from_.bucket.has_tombstone(object);
    Successor& next = successors_.read(actor_, "LIST tombstones of object", object,
                                       found ? Answer::kFound : Answer::kNotFound);
    if (found) {
      enter_upload(next.world);
    } else if (is_head_first() || mutated(Mutation::kNoHead)) {
      reuse(next.world, object);
    } else {
      state(next.world).step = PushStep::kHead;
    }
  }

  void head() {
    const int object = candidate(config_, from_, push_, state_.part);
    const bool found = from_.bucket.objects.has(object);
    Successor& next =
        successors_.read(actor_, "HEAD object", object, found ? Answer::kFound : Answer::kNotFound);
    if (!found) {
      enter_upload(next.world);
    } else if (mutated(Mutation::kHeadBeforeTombstones)) {
      state(next.world).step = PushStep::kListTombstones;
    } else {
      reuse(next.world, object);
    }
  }

  void upload() {
    const int old_name = candidate(config_, from_, push_, state_.part);
    const bool uses_old_name = mutated(Mutation::kReuseDeletedName) && old_name != kNoObject;
    const int object = uses_old_name ? old_name : object_name(push_, state_.names);
    const auto use_name = [&](World& world) {
      if (!uses_old_name) state(world).names = state_.names + 1;
    };
    successors_.send(
        actor_, Request(Verb::kPutObject, object),
        [&](Successor& next, bool) {
          use_name(next.world);
          reuse(next.world, object);
        },
        [&](Successor& next, bool gives_up) {
          const bool keeps_name = mutated(Mutation::kSameNameAfterUnknownUpload);
          if (!keeps_name) use_name(next.world);
          if (gives_up) return finish(next.world, Outcome::kFailed);
          enter_upload(next.world);
        });
  }

  // 5
  void put_manifest() {
    const Verb verb =
        mutated(Mutation::kManifestUnconditional) ? Verb::kReplaceRecord : Verb::kPutRecord;
    const Request request(verb, name_, from_.numbers[push_], kFirstManifest + push_);
    successors_.send(
        actor_, request,
        [&](Successor& next, bool took_effect) {
          if (took_effect) return after_manifest(next);
          if (mutated(Mutation::kConflictWithoutNonce)) {
            return end_in_conflict(next, PushStep::kDropPin);
          }
          state(next.world).step = PushStep::kGetRecord;
        },
        [&](Successor& next, bool gives_up) {
          if (mutated(Mutation::kUnknownManifestIsStored)) return after_manifest(next);
          if (!gives_up) return;
          if (mutated(Mutation::kUnknownManifestIsNotStored)) {
            finish(next.world, Outcome::kFailed);
          } else if (has_attempt(config_, from_, pusher_)) {
            begin_again(next.world, pusher_);
          } else {
            finish_without_pin(next.world, Outcome::kFailed);
          }
        });
  }

  void after_manifest(Successor& next) {
    state(next.world).cursor = from_.numbers[push_];
    if (mutated(Mutation::kNoCheckForNewer)) {
      acknowledge(next);
    } else {
      state(next.world).step = PushStep::kListAfter;
    }
  }

  void get_record() {
    const int number = from_.numbers[push_];
    const int record = from_.bucket.record(name_, number);
    Successor& next = successors_.read(actor_, "GET record", number,
                                       record != kAbsent ? Answer::kFound : Answer::kNotFound);
    if (record == kFirstManifest + push_) return after_manifest(next);
    if (is_of_earlier_attempt(record)) return resume_earlier_attempt(next);
    if (is_manifest(record)) return end_in_conflict(next, PushStep::kDropPin);
    if (!has_attempt(config_, from_, pusher_)) return finish(next.world, Outcome::kFailed);
    next.event.remark = "begins again";
    state(next.world).step = PushStep::kDropOldPin;
  }

  void drop_old_pin() {
    const auto go_on = [this](Successor& next, bool) { begin_again(next.world, pusher_); };
    successors_.send(actor_, Request(Verb::kDeletePin, push_), go_on, go_on);
  }

  // 6
  void list_after() {
    const int number = from_.bucket.next_record(name_, state_.cursor);
    Successor& next = successors_.read(actor_, "LIST newer records after", state_.cursor,
                                       number > 0 ? Answer::kFound : Answer::kNotFound);
    if (number > 0 && is_state(from_.bucket.record(name_, number))) {
      return end_in_conflict(next, PushStep::kDropPin);
    }
    if (number > 0) {
      state(next.world).cursor = number;
    } else if (mutated(Mutation::kPinCheckInsteadOfVoid)) {
      state(next.world).step = PushStep::kCheckPin;
    } else {
      acknowledge(next);
    }
  }

  void check_pin() {
    const bool found = from_.bucket.pins.has(push_);
    Successor& next =
        successors_.read(actor_, "HEAD pin", push_, found ? Answer::kFound : Answer::kNotFound);
    if (found) return acknowledge(next);
    finish(next.world, Outcome::kFailed);
  }

  /// Another push of the same name wins as long as nobody asked for its removal.
  [[nodiscard]] bool is_beaten_by(int other) const {
    const int number = from_.numbers[other];
    return other != push_ && other / kAttempts != pusher_ && config_.name_of_push(other) == name_ &&
           from_.history.acknowledged(other) && !from_.history.removed(kFirstManifest + other) &&
           number > state_.base;
  }

  void acknowledge(Successor& next) {
    if (from_.bucket.newest_state(name_) > from_.numbers[push_]) {
      next.violation = Violation::kAcknowledgedTooLate;
    }
    for (int other = 0; other < kPushes; ++other) {
      if (is_beaten_by(other)) next.violation = Violation::kBothWin;
    }
    next.event.remark = "acknowledged";
    next.world.history.note_acknowledged(push_);
    finish(next.world, Outcome::kAcknowledged);
  }

  void end_in_conflict(Successor& next, PushStep step) {
    const bool has_rival = from_.history.stored_manifest(1 - pusher_) && !config_.two_names;
    if (!has_rival && !from_.history.stored_removal()) next.violation = Violation::kFalseConflict;
    next.event.remark = "conflict";
    if (step == PushStep::kEnded) {
      finish_without_pin(next.world, Outcome::kConflict);
    } else {
      finish(next.world, Outcome::kConflict);
    }
  }

  // 7
  void finish(World& world, Outcome outcome) const {
    if (mutated(Mutation::kNoPin) || mutated(Mutation::kDropPinBeforeManifest)) {
      return finish_without_pin(world, outcome);
    }
    state(world).outcome = outcome;
    state(world).step = PushStep::kDropPin;
    state(world).cursor = state(world).newest = state(world).part = state(world).names = 0;
  }

  void drop_pin() {
    const auto go_on = [this](Successor& next, bool) {
      if (mutated(Mutation::kDropPinBeforeManifest)) {
        state(next.world).step = PushStep::kPutManifest;
      } else {
        finish_without_pin(next.world, state_.outcome);
      }
    };
    successors_.send(actor_, Request(Verb::kDeletePin, push_), go_on, go_on);
  }

  void finish_without_pin(World& world, Outcome outcome) const {
    Pusher& pusher = state(world);
    pusher.cursor = pusher.newest = pusher.part = pusher.names = 0;
    const bool is_first = config_.pushes_twice(pusher_) && state_.attempt == 0;
    if (is_first && outcome == Outcome::kAcknowledged) {
      pusher.outcome = Outcome::kNone;
      pusher.base = world.numbers[push_];
      begin_again(world, pusher_);
    } else {
      pusher.outcome = outcome;
      pusher.step = PushStep::kEnded;
    }
  }

  Successors& successors_;
  const Config& config_;
  const World& from_;
  int pusher_;
  Actor actor_;
  int name_;
  const Pusher& state_;
  int push_;
};

}  // namespace

bool has_attempt(const Config& config, const World& world, int pusher) {
  const int next = pusher * kAttempts + 1;
  return world.pushers[pusher].attempt == 0 && world.numbers[next] == 0 &&
         !config.pushes_twice(pusher);
}

void begin_again(World& world, int pusher) {
  Pusher& state = world.pushers[pusher];
  state.step = PushStep::kListNewer;
  state.attempt = state.attempt + 1;
  state.cursor = state.base;
  state.newest = state.part = state.names = 0;
}

void push(Successors& successors, int pusher) { Push(successors, pusher).step(); }

}  // namespace lamina::object_tier_model
