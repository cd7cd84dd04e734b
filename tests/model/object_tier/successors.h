// The states that follow a state.
//
// An actor's step is one request and what the actor makes of the answer. A request that changes
// something ends in one of these ways:
//
//   it takes effect and is answered
//   the answer is lost (while config.lost_answers allows): the request is late from now on, and the
//   actor retries or gives up. Taking effect without an answer is being late, and taking effect
//   next; having no effect is being late for ever
//   the actor crashes (while config.crashes allows), the request is late. A push may begin again
//
// An actor can also crash without a request. Reads that fail are repeated, which changes nothing,
// so they are left out (two mutations take a failed read for an answer).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "world.h"

namespace lamina::object_tier_model {

enum class Actor : std::uint8_t {
  kStore,  ///< a late request takes effect
  kFirstPusher,
  kSecondPusher,
  kFirstCollector,
  kSecondCollector,
  kRemover,
  kPuller,
};

enum class Answer : std::uint8_t {
  kDone,    ///< of a request that changes something: 200, 204
  kExists,  ///< 412
  kLost,    ///< none; the request is late
  kCrash,   ///< of the actor; the request, if there is one, is late
  kFound,   ///< of a read
  kNotFound,
};

/// Which rule was broken; see properties.h.
enum class Violation : std::uint8_t {
  kNone,
  kLost,
  kBroken,
  kNameUsedAgain,
  kBothWin,
  kAcknowledgedTooLate,
  kFalseConflict,
  kWentBack,
  kPullFailed,
  kLeftovers,
  kStuck,
};

/// For traces.
struct Event {
  Actor actor = Actor::kStore;
  Request request = {};   ///< if it changes something
  const char* read = "";  ///< if it does not: what
  int key = 0;            ///< of the read: object, number, pin
  Answer answer = Answer::kDone;
  const char* remark = "";  ///< what the actor makes of it
};

struct Successor {
  World world;
  Event event;
  Violation violation = Violation::kNone;
};

/// Collects the successors of one state.
class Successors {
 public:
  Successors(const Config& config, const World& from, std::vector<Successor>& to)
      : config_(config), from_(from), to_(to) {}

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] const World& from() const { return from_; }

  /// A copy of the state to be changed; valid until the next call.
  Successor& add(const Event& event) { return to_.emplace_back(Successor{from_, event}); }

  /// What a read of the actor leads to.
  Successor& read(Actor actor, const char* what, int key, Answer answer) {
    return add({.actor = actor, .read = what, .key = key, .answer = answer});
  }

  [[nodiscard]] bool may_lose_an_answer() const {
    return from_.lost_answers > 0 && !from_.late.full();
  }

  /// All that can become of a request. `answered(successor, took_effect)` and
  /// `unknown(successor, gives_up)` change the actor; the latter is called for both.
  template <class Answered, class Unknown>
  void send(Actor actor, Request request, Answered answered, Unknown unknown);

  /// The actor crashes without a request, if it may and runs.
  void crash(Actor actor);

 private:
  Successor& add_late(Actor actor, Request request, Answer answer);
  void end_crashed(Successor& crashed, Actor actor) const;
  void begin_crashed_again(Successor& crashed, Actor actor) const;

  const Config& config_;
  const World& from_;
  std::vector<Successor>& to_;
};

/// Ends an actor, with what it knows.
void kill(World& world, Actor actor);

/// A push that has crashed is begun again by its queue, if it was not over.
[[nodiscard]] bool may_restart(const Config& config, const World& world, Actor actor);
[[nodiscard]] bool runs(const World& world, Actor actor);

/// Whether a pusher has another attempt, and its begin: under a new id, with a new pin.
[[nodiscard]] bool has_attempt(const Config& config, const World& world, int pusher);
void begin_again(World& world, int pusher);

// The steps of each actor.
void push(Successors& successors, int pusher);
void collect(Successors& successors, int collector);
void remove(Successors& successors);
void pull(Successors& successors);

/// All states that follow. `to` is emptied first.
void expand(const Config& config, const World& from, std::vector<Successor>& to);

/// "pusher 1: PUT pin 0: done".
std::string describe(const Event& event);

template <class Answered, class Unknown>
void Successors::send(Actor actor, Request request, Answered answered, Unknown unknown) {
  {
    Successor& done = add({.actor = actor, .request = request});
    note_sent(done.world, request);
    const bool took_effect = take_effect(config_, done.world, request);
    if (!took_effect) done.event.answer = Answer::kExists;
    answered(done, took_effect);
  }
  if (from_.late.full()) return;
  if (from_.lost_answers > 0) {
    for (const bool gives_up : {false, true}) {
      Successor& lost = add_late(actor, request, Answer::kLost);
      lost.world.lost_answers = from_.lost_answers - 1;
      lost.event.remark = gives_up ? "gives up" : "goes on";
      unknown(lost, gives_up);
    }
  }
  if (from_.crashes > 0) {
    end_crashed(add_late(actor, request, Answer::kCrash), actor);
    if (may_restart(config_, from_, actor)) {
      begin_crashed_again(add_late(actor, request, Answer::kCrash), actor);
    }
  }
}

}  // namespace lamina::object_tier_model
