// Removing a name, and retention.
//
// Remove:
//   1  LIST the name's records. The newest state is a manifest at n (else there is nothing to do).
//   2  PUT a removal at the next free number, if absent. No answer: again; 412: GET, our nonce?
//      Another record: the snapshot was changed meanwhile, nothing is removed.
//   3  LIST the records after it: a manifest or a removal means the same.
//   4  DELETE the records below it, the lowest first.
//
// Retention: LIST, then DELETE any records below the newest state; a removal only if nothing is
// below it. The newest manifest or removal is never deleted, so the next number is never an old
// one.
#include "successors.h"

namespace lamina::object_tier_model {

namespace {

class Remove {
 public:
  explicit Remove(Successors& successors)
      : successors_(successors),
        config_(successors.config()),
        from_(successors.from()),
        state_(from_.remover) {}

  void step() {
    switch (state_.step) {
      case RemoveStep::kEnded:
        return;
      case RemoveStep::kList:
        return list();
      case RemoveStep::kPutRemoval:
        return put_removal();
      case RemoveStep::kGetRecord:
        return get_record();
      case RemoveStep::kListAfter:
        return list_after();
      case RemoveStep::kDelete:
        return delete_record();
    }
  }

 private:
  [[nodiscard]] bool mutated(Mutation by) const { return config_.mutated(by); }

  void end(Successor& next, const char* remark) const {
    next.world.remover = Remover();
    next.event.remark = remark;
  }

  // 1
  void list() {
    const int number = from_.bucket.next_record(0, state_.cursor);
    if (number == 0) return end_list();
    Successor& next =
        successors_.read(Actor::kRemover, "LIST records, number", number, Answer::kFound);
    next.world.remover.cursor = number;
    const int record = from_.bucket.record(0, number);
    if (!is_state(record)) return;
    next.world.remover.number = number;
    next.world.remover.seen = record;
  }

  void end_list() {
    if (config_.remover == RemoverMode::kRetention) return choose_old();
    Successor& next =
        successors_.read(Actor::kRemover, "LIST records after", state_.cursor, Answer::kNotFound);
    if (!is_manifest(state_.seen) || state_.cursor == kHighestNumber) {
      return end(next, "nothing to remove");
    }
    if (mutated(Mutation::kRemoveByDelete)) {
      next.world.remover.step = RemoveStep::kDelete;
      next.world.remover.cursor = state_.number;
      return;
    }
    next.world.remover.step = RemoveStep::kPutRemoval;
    next.world.remover.number = state_.cursor + 1;
    next.world.remover.seen = kAbsent;
  }

  // 2
  void put_removal() {
    const Verb verb =
        mutated(Mutation::kRemovalUnconditional) ? Verb::kReplaceRecord : Verb::kPutRecord;
    successors_.send(
        Actor::kRemover, Request(verb, 0, state_.number, kRemoval),
        [&](Successor& next, bool took_effect) {
          next.world.remover.step = took_effect ? RemoveStep::kListAfter : RemoveStep::kGetRecord;
          next.world.remover.cursor = state_.number;
        },
        [&](Successor& next, bool gives_up) {
          if (gives_up) end(next, "gives up");
        });
  }

  void get_record() {
    const bool is_ours = from_.bucket.record(0, state_.number) == kRemoval;
    Successor& next = successors_.read(Actor::kRemover, "GET record", state_.number,
                                       is_ours ? Answer::kFound : Answer::kNotFound);
    if (!is_ours) return end(next, "changed meanwhile");
    next.world.remover.step = RemoveStep::kListAfter;
  }

  // 3
  void list_after() {
    const int number = from_.bucket.next_record(0, state_.cursor);
    Successor& next = successors_.read(Actor::kRemover, "LIST newer records after", state_.cursor,
                                       number > 0 ? Answer::kFound : Answer::kNotFound);
    if (number == 0) return choose_lowest(next);
    if (is_state(from_.bucket.record(0, number))) return end(next, "changed meanwhile");
    next.world.remover.cursor = number;
  }

  // 4
  void choose_lowest(Successor& next) const {
    const int number = next.world.bucket.next_record(0, 0);
    if (number == 0 || number >= state_.number) return end(next, "removed");
    next.world.remover.step = RemoveStep::kDelete;
    next.world.remover.cursor = number;
    next.world.remover.seen = next.world.bucket.record(0, number);
  }

  void delete_record() {
    const Request request(Verb::kDeleteRecord, 0, state_.cursor, state_.seen);
    const bool is_only =
        config_.remover == RemoverMode::kRetention || mutated(Mutation::kRemoveByDelete);
    successors_.send(
        Actor::kRemover, request,
        [&](Successor& next, bool) {
          if (is_only) return end(next, "");
          choose_lowest(next);
        },
        [&](Successor& next, bool gives_up) {
          if (gives_up) end(next, "gives up");
        });
  }

  // Retention.
  [[nodiscard]] bool is_old(int number) const {
    const int record = from_.bucket.record(0, number);
    const int lowest = from_.bucket.next_record(0, 0);
    if (record == kAbsent || (record == kRemoval && lowest < number)) return false;
    if (mutated(Mutation::kVoidDeletedBelowVoid) && record == kVoid) return number < state_.cursor;
    return number < state_.number;
  }

  void choose_old() {
    for (int number = 1; number <= kHighestNumber; ++number) {
      if (!is_old(number)) continue;
      Successor& next =
          successors_.read(Actor::kRemover, "retention drops number", number, Answer::kFound);
      next.world.remover.step = RemoveStep::kDelete;
      next.world.remover.cursor = number;
      next.world.remover.seen = from_.bucket.record(0, number);
    }
    Successor& next = successors_.read(Actor::kRemover, "retention below number", state_.number,
                                       Answer::kNotFound);
    end(next, "keeps all");
  }

  Successors& successors_;
  const Config& config_;
  const World& from_;
  const Remover& state_;
};

}  // namespace

void remove(Successors& successors) { Remove(successors).step(); }

}  // namespace lamina::object_tier_model
