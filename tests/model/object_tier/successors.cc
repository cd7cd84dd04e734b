#include "successors.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

namespace lamina::object_tier_model {

namespace {

Actor pusher_actor(int pusher) { return pusher == 0 ? Actor::kFirstPusher : Actor::kSecondPusher; }
Actor collector_actor(int collector) {
  return collector == 0 ? Actor::kFirstCollector : Actor::kSecondCollector;
}

void kill_pusher(Pusher& pusher) {
  pusher.step = PushStep::kEnded;
  if (pusher.outcome == Outcome::kNone) pusher.outcome = Outcome::kDied;
  pusher.cursor = pusher.newest = pusher.part = pusher.names = 0;
}

void take_late_requests(Successors& successors) {
  const World& from = successors.from();
  for (int index = 0; index < kLateRequests; ++index) {
    const Request request = from.late.at(index);
    if (request == Request()) break;
    if (index > 0 && request == from.late.at(index - 1)) continue;
    Successor& next = successors.add({.actor = Actor::kStore, .request = request});
    next.world.late.remove(index);
    if (!take_effect(successors.config(), next.world, request)) next.event.answer = Answer::kExists;
  }
}

const char* word_of(Actor actor) {
  switch (actor) {
    case Actor::kStore:
      return "late request";
    case Actor::kFirstPusher:
      return "pusher 0";
    case Actor::kSecondPusher:
      return "pusher 1";
    case Actor::kFirstCollector:
      return "collector 0";
    case Actor::kSecondCollector:
      return "collector 1";
    case Actor::kRemover:
      return "remover";
    case Actor::kPuller:
      return "puller";
  }
  return "";
}

const char* word_of(Answer answer) {
  switch (answer) {
    case Answer::kDone:
      return "done";
    case Answer::kExists:
      return "exists already (412)";
    case Answer::kLost:
      return "no answer, the request is late";
    case Answer::kCrash:
      return "crashes";
    case Answer::kFound:
      return "found";
    case Answer::kNotFound:
      return "not found";
  }
  return "";
}

std::string word_of_record(int record) {
  if (record == kInitialManifest) return "initial manifest";
  if (is_manifest(record)) return fmt::format("manifest of push {}", record - kFirstManifest);
  return record == kVoid ? "void" : record == kRemoval ? "removal" : "nothing";
}

std::string describe(Request request) {
  const int first = request.first();
  const int second = request.second();
  const std::string record = word_of_record(request.third());
  switch (request.verb()) {
    case Verb::kNone:
      return "";
    case Verb::kPutObject:
      return fmt::format("PUT object {}", first);
    case Verb::kPutPin:
      return fmt::format("PUT pin {}", first);
    case Verb::kPutTombstone:
      return fmt::format("PUT tombstone {} on object {}", first, second);
    case Verb::kPutRecord:
      return fmt::format("PUT if absent {}.{}: {}", first, second, record);
    case Verb::kReplaceRecord:
      return fmt::format("PUT {}.{}: {}", first, second, record);
    case Verb::kDeleteObject:
      return fmt::format("DELETE object {}", first);
    case Verb::kDeletePin:
      return fmt::format("DELETE pin {}", first);
    case Verb::kDeleteTombstone:
      return fmt::format("DELETE tombstone {} on object {}", first, second);
    case Verb::kDeleteRecord:
      return fmt::format("DELETE {}.{}: {}", first, second, record);
  }
  return "";
}

}  // namespace

Successor& Successors::add_late(Actor actor, Request request, Answer answer) {
  Successor& late = add({.actor = actor, .request = request, .answer = answer});
  note_sent(late.world, request);
  late.world.late.add(request);
  return late;
}

void Successors::crash(Actor actor) {
  if (from_.crashes == 0 || !runs(from_, actor)) return;
  const Event event{.actor = actor, .answer = Answer::kCrash};
  end_crashed(add(event), actor);
  if (may_restart(config_, from_, actor)) begin_crashed_again(add(event), actor);
}

void Successors::end_crashed(Successor& crashed, Actor actor) const {
  crashed.world.crashes = from_.crashes - 1;
  kill(crashed.world, actor);
}

void Successors::begin_crashed_again(Successor& crashed, Actor actor) const {
  crashed.event.remark = "begins again";
  crashed.world.crashes = from_.crashes - 1;
  begin_again(crashed.world, actor == Actor::kFirstPusher ? 0 : 1);
}

void kill(World& world, Actor actor) {
  switch (actor) {
    case Actor::kStore:
      break;
    case Actor::kFirstPusher:
      kill_pusher(world.pushers[0]);
      break;
    case Actor::kSecondPusher:
      kill_pusher(world.pushers[1]);
      break;
    case Actor::kFirstCollector:
      world.collectors[0] = Collector();
      break;
    case Actor::kSecondCollector:
      world.collectors[1] = Collector();
      break;
    case Actor::kRemover:
      world.remover = Remover();
      break;
    case Actor::kPuller: {
      const Small seen = world.puller.seen;  // what its pin names
      world.puller = Puller();
      world.puller.seen = seen;
      break;
    }
  }
}

bool may_restart(const Config& config, const World& world, Actor actor) {
  if (actor != Actor::kFirstPusher && actor != Actor::kSecondPusher) return false;
  const int pusher = actor == Actor::kFirstPusher ? 0 : 1;
  return world.pushers[pusher].outcome == Outcome::kNone && has_attempt(config, world, pusher);
}

bool runs(const World& world, Actor actor) {
  switch (actor) {
    case Actor::kStore:
      return false;
    case Actor::kFirstPusher:
      return world.pushers[0].step != PushStep::kEnded;
    case Actor::kSecondPusher:
      return world.pushers[1].step != PushStep::kEnded;
    case Actor::kFirstCollector:
      return world.collectors[0].step != CollectStep::kEnded;
    case Actor::kSecondCollector:
      return world.collectors[1].step != CollectStep::kEnded;
    case Actor::kRemover:
      return world.remover.step != RemoveStep::kEnded;
    case Actor::kPuller:
      return world.puller.step != PullStep::kEnded;
  }
  return false;
}

namespace {

Request with_other_collector(Request request) {
  if (request.verb() != Verb::kPutTombstone && request.verb() != Verb::kDeleteTombstone)
    return request;
  return {request.verb(), request.first() ^ 2, request.second()};
}

/// Two states that differ only in which collector is the first one are the same.
void order_collectors(World& world) {
  World other = world;
  std::swap(other.collectors[0], other.collectors[1]);
  for (int tombstone = 0; tombstone < kTombstones; ++tombstone) {
    other.bucket.tombstones[tombstone] = world.bucket.tombstones[tombstone ^ 2];
  }
  // A collector that drops another one's tombstone knows its number.
  for (Collector& collector : other.collectors) {
    const bool has_tombstone =
        collector.step == CollectStep::kHeadOfOther || collector.step == CollectStep::kDropOther;
    if (has_tombstone) collector.cursor = collector.cursor ^ 2;
  }
  other.late = LateRequests();
  for (int index = 0; index < kLateRequests && world.late.at(index) != Request(); ++index) {
    other.late.add(with_other_collector(world.late.at(index)));
  }
  if (std::memcmp(&other, &world, sizeof world) < 0) world = other;
}

}  // namespace

void expand(const Config& config, const World& from, std::vector<Successor>& to) {
  to.clear();
  Successors successors(config, from, to);
  for (int pusher = 0; pusher < config.pushers; ++pusher) {
    push(successors, pusher);
    successors.crash(pusher_actor(pusher));
  }
  for (int collector = 0; collector < config.collectors; ++collector) {
    collect(successors, collector);
    successors.crash(collector_actor(collector));
  }
  remove(successors);
  successors.crash(Actor::kRemover);
  pull(successors);
  successors.crash(Actor::kPuller);
  take_late_requests(successors);
  // Traces of faults are easier to read if the collectors keep their numbers.
  if (config.collectors < 2 || !config.mutated(Mutation::kNone)) return;
  for (Successor& next : to) order_collectors(next.world);
}

std::string describe(const Event& event) {
  std::string text = fmt::format("{}: ", word_of(event.actor));
  if (event.request != Request()) {
    text += describe(event.request) + ": ";
  } else if (*event.read != '\0') {
    text += fmt::format("{} {}: ", event.read, event.key);
  }
  text += word_of(event.answer);
  if (*event.remark != '\0') text += fmt::format(" ({})", event.remark);
  return text;
}

}  // namespace lamina::object_tier_model
