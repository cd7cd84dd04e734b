#include "world.h"

namespace lamina::object_tier_model {

Set references(const World& world, int record) {
  Set objects;
  if (record == kInitialManifest) objects.add(0);
  if (record < kFirstManifest || record >= kVoid) return objects;
  for (int part = 0; part < 2; ++part) {
    const int object = world.object_of(record - kFirstManifest, part);
    if (object != kNoObject) objects.add(object);
  }
  return objects;
}

int candidate(const Config& config, const World& world, int push, int part) {
  const bool is_later = push % kAttempts > 0;
  const int before = is_later ? world.object_of(push - 1, part) : kNoObject;
  if (part == 0) return before != kNoObject ? before : 0;
  // A second attempt reuses what the first one has uploaded; a second push has something new.
  const bool is_second_attempt = is_later && !world.history.acknowledged(push - 1);
  return config.upload && is_second_attempt ? before : kNoObject;
}

Set protects(const Config& config, const World& world, int pin) {
  if (pin == kPullersPin) return references(world, world.puller.seen);
  Set objects;
  for (int n = 0; n < kNamesPerPush; ++n) objects.add(object_name(pin, n));
  for (int part = 0; part < 2; ++part) {
    if (part == 0 && !config.reuse) continue;
    const int object = candidate(config, world, pin, part);
    if (object != kNoObject) objects.add(object);
  }
  return objects;
}

World initial_world(const Config& config) {
  World world;
  world.bucket.objects.add(0);
  world.made.add(0);
  world.bucket.set_record(0, 1, config.initially_removed ? kRemoval : kInitialManifest);
  world.lost_answers = config.lost_answers;
  world.crashes = config.crashes;
  for (Small& manifest : world.manifests) manifest = kNoObject | (kNoObject << 4);
  for (int pusher = 0; pusher < config.pushers; ++pusher) {
    const int base = config.name_of(pusher) == 0 ? 1 : 0;
    world.pushers[pusher].step = PushStep::kListNewer;
    world.pushers[pusher].base = base;
    world.pushers[pusher].cursor = base;
  }
  for (int collector = 0; collector < config.collectors; ++collector) {
    world.collectors[collector].step = CollectStep::kChoose;
  }
  if (config.remover != RemoverMode::kNone) world.remover.step = RemoveStep::kList;
  if (config.puller != PullMode::kNone) world.puller.step = PullStep::kList;
  return world;
}

namespace {

void note_stored_record(World& world, int name, int number, int record) {
  if (record == kRemoval) {
    world.history.note_stored_removal();
    for (int lower = 1; lower < number; ++lower) {
      const int removed = world.bucket.record(name, lower);
      if (is_manifest(removed)) world.history.note_removed(removed);
    }
  }
  if (!is_manifest(record)) return;
  world.history.note_stored_manifest((record - kFirstManifest) / kAttempts);
  // A late copy of a request, after the removal.
  for (int higher = number + 1; higher <= kHighestNumber; ++higher) {
    if (world.bucket.record(name, higher) == kRemoval) world.history.note_removed(record);
  }
}

/// The pins of one pusher have one key: making one replaces the other, deleting one deletes both.
void apply_to_only_pin(World& world, int pin) {
  if (pin == kPullersPin) return;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    world.bucket.pins.drop(pin / kAttempts * kAttempts + attempt);
  }
}

}  // namespace

bool take_effect(const Config& config, World& world, Request request) {
  const Verb verb = request.verb();
  if (verb == Verb::kPutObject) {
    const int object = request.first();
    if (world.made.has(object) && !world.bucket.objects.has(object)) {
      world.history.note_name_used_again();
    }
    world.made.add(object);
  }
  if (config.mutated(Mutation::kOnePinNameForAllAttempts) &&
      (verb == Verb::kPutPin || verb == Verb::kDeletePin)) {
    apply_to_only_pin(world, request.first());
  }
  if (!world.bucket.apply(request)) return false;
  if (verb == Verb::kPutRecord || verb == Verb::kReplaceRecord) {
    note_stored_record(world, request.first(), request.second(), request.third());
  }
  return true;
}

void note_sent(World& world, Request request) {
  if (request.verb() == Verb::kDeleteRecord && is_manifest(request.third())) {
    world.history.note_removed(request.third());
  }
}

std::string_view word_of(Mutation mutation) {
  switch (mutation) {
    case Mutation::kNone:
      return "the protocol";
    case Mutation::kNoPin:
      return "a push makes no pin";
    case Mutation::kPinAfterUpload:
      return "a push makes its pin after checking and uploading";
    case Mutation::kOnePinNameForAllAttempts:
      return "the pins of a writer's attempts have one name";
    case Mutation::kNoTombstoneCheck:
      return "a push does not list tombstones before it reuses";
    case Mutation::kHeadBeforeTombstones:
      return "a push lists the tombstones after the HEAD";
    case Mutation::kNoHead:
      return "a push lists tombstones, but sends no HEAD";
    case Mutation::kReuseDeletedName:
      return "a deleted object is uploaded under its old name";
    case Mutation::kSameNameAfterUnknownUpload:
      return "an upload without an answer is repeated under the same name";
    case Mutation::kDropPinBeforeManifest:
      return "a push drops its pin before the manifest";
    case Mutation::kManifestUnconditional:
      return "the manifest is stored unconditionally";
    case Mutation::kUnknownManifestIsStored:
      return "a manifest without an answer is taken for stored";
    case Mutation::kUnknownManifestIsNotStored:
      return "a manifest without an answer is taken for not stored, and the pin is dropped";
    case Mutation::kConflictWithoutNonce:
      return "a 412 is a conflict whatever the record's nonce says";
    case Mutation::kForgetsEarlierAttempt:
      return "a push does not know the manifest of its earlier attempt";
    case Mutation::kNoCheckForNewer:
      return "a push does not list newer records after its manifest";
    case Mutation::kNoTombstone:
      return "a collector makes no tombstone";
    case Mutation::kNoSecondRead:
      return "a collector does not read again after its tombstone";
    case Mutation::kRecordsBeforePins:
      return "a collector reads manifests before pins";
    case Mutation::kDropTombstoneBeforeGone:
      return "a collector drops its tombstone before it knows that the object is gone";
    case Mutation::kDropTombstonesOfOthers:
      return "a collector drops another one's tombstone while the object exists";
    case Mutation::kTombstoneNameUsedAgain:
      return "a collector's cycles share a tombstone's name";
    case Mutation::kReadErrorIsAbsent:
      return "a record or pin that cannot be read is skipped";
    case Mutation::kHeadErrorIsGone:
      return "a HEAD that fails is taken for 404";
    case Mutation::kNoVoid:
      return "a pin past its time is deleted without a void at its number";
    case Mutation::kPinCheckInsteadOfVoid:
      return "no void; a push checks that its pin exists before it acknowledges";
    case Mutation::kPinDeletedBeforeVoid:
      return "a pin past its time is deleted before the void";
    case Mutation::kPinsNeverExpire:
      return "pins never expire";
    case Mutation::kTombstonesOfGoneObjectsStay:
      return "nobody drops a dead collector's tombstone when the object is gone";
    case Mutation::kRemoveByDelete:
      return "the newest manifest is deleted";
    case Mutation::kRemovalUnconditional:
      return "a removal is stored unconditionally";
    case Mutation::kVoidDeletedBelowVoid:
      return "a void is deleted below another void";
    case Mutation::kPullPinAfterCheck:
      return "a pull makes its pin after it checked the objects";
    case Mutation::kPullTakesVoidForState:
      return "a pull takes a void for the newest state";
  }
  return "";
}

}  // namespace lamina::object_tier_model
