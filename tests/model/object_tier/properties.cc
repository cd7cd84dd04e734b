#include "properties.h"

namespace lamina::object_tier_model {

namespace {

bool is_whole(const World& world, int record) {
  return references(world, record).within(world.bucket.objects);
}

bool has_acknowledged(const Config& config, const World& world) {
  if (!config.initially_removed && !world.history.removed(kInitialManifest)) {
    if (world.bucket.record(0, 1) != kInitialManifest || !is_whole(world, kInitialManifest)) {
      return false;
    }
  }
  for (int push = 0; push < kPushes; ++push) {
    const int record = kFirstManifest + push;
    if (!world.history.acknowledged(push) || world.history.removed(record)) continue;
    const int there = world.bucket.record(config.name_of_push(push), world.numbers[push]);
    if (there != record || !is_whole(world, record)) return false;
  }
  return true;
}

bool has_whole_states(const World& world) {
  for (int name = 0; name < kNames; ++name) {
    if (!is_whole(world, world.bucket.record(name, world.bucket.newest_state(name)))) return false;
  }
  return true;
}

Set referenced(const World& world) {
  Set objects;
  for (int name = 0; name < kNames; ++name) {
    for (int number = 1; number <= kHighestNumber; ++number) {
      objects.add(references(world, world.bucket.record(name, number)));
    }
  }
  return objects;
}

void expire_pins(const Config& config, World& world) {
  for (int pin = 0; pin < kPins; ++pin) {
    if (!world.bucket.pins.has(pin)) continue;
    if (pin != kPullersPin) {
      world.bucket.apply(
          Request(Verb::kPutRecord, config.name_of_push(pin), world.numbers[pin], kVoid));
    }
    world.bucket.pins.drop(pin);
  }
}

/// Without pins.
void collect_all(const Config& config, World& world) {
  const Set kept = referenced(world);
  for (int object = 0; object < kObjects; ++object) {
    if (!kept.has(object)) world.bucket.objects.drop(object);
  }
  if (config.mutated(Mutation::kTombstonesOfGoneObjectsStay)) return;
  for (Small& tombstone : world.bucket.tombstones) {
    if (tombstone > 0 && !world.bucket.objects.has(tombstone - 1)) tombstone = 0;
  }
}

bool has_leftovers(const World& world) {
  if (!world.bucket.pins.empty() || !world.bucket.objects.within(referenced(world))) return true;
  for (const Small tombstone : world.bucket.tombstones) {
    if (tombstone > 0 && !world.bucket.objects.has(tombstone - 1)) return true;
  }
  return false;
}

}  // namespace

Violation check(const Config& config, const World& world) {
  if (!has_acknowledged(config, world)) return Violation::kLost;
  if (!has_whole_states(world)) return Violation::kBroken;
  return world.history.name_used_again() ? Violation::kNameUsedAgain : Violation::kNone;
}

Violation check_step(const World& before, const World& after) {
  for (int name = 0; name < kNames; ++name) {
    if (after.bucket.has_records_of(before.bucket, name)) continue;
    if (after.bucket.newest_state(name) < before.bucket.newest_state(name)) {
      return Violation::kWentBack;
    }
  }
  return Violation::kNone;
}

Violation check_ended(const Config& config, const World& world) {
  World closed = world;
  if (!config.mutated(Mutation::kPinsNeverExpire)) expire_pins(config, closed);
  collect_all(config, closed);
  if (!has_acknowledged(config, closed)) return Violation::kLost;
  return has_leftovers(closed) ? Violation::kLeftovers : Violation::kNone;
}

std::string_view word_of(Violation violation) {
  switch (violation) {
    case Violation::kNone:
      return "none";
    case Violation::kLost:
      return "an acknowledged snapshot is lost";
    case Violation::kBroken:
      return "the newest manifest misses an object";
    case Violation::kNameUsedAgain:
      return "the name of a deleted object is used again";
    case Violation::kBothWin:
      return "two pushes from the same state are both acknowledged";
    case Violation::kAcknowledgedTooLate:
      return "a push is acknowledged below a newer state";
    case Violation::kFalseConflict:
      return "a push without a rival is told of a conflict";
    case Violation::kWentBack:
      return "the newest state becomes an older one";
    case Violation::kPullFailed:
      return "a pull fails without reason";
    case Violation::kLeftovers:
      return "something is left that nobody needs";
    case Violation::kStuck:
      return "an actor cannot go on";
  }
  return "";
}

}  // namespace lamina::object_tier_model
