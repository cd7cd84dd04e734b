// A state of the model: the bucket, the late requests, where each actor is, and what the properties
// need to know about the past.
//
// A state is 72 bytes without padding, so that it can be hashed and compared as memory.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "bucket.h"

namespace lamina::object_tier_model {

/// A step that is left out, swapped or done wrong. The protocol is kNone.
enum class Mutation : std::uint8_t {
  kNone,
  // Push.
  kNoPin,
  kPinAfterUpload,
  kOnePinNameForAllAttempts,
  kNoTombstoneCheck,
  kHeadBeforeTombstones,
  kNoHead,
  kReuseDeletedName,
  kSameNameAfterUnknownUpload,
  kDropPinBeforeManifest,
  kManifestUnconditional,
  kUnknownManifestIsStored,
  kUnknownManifestIsNotStored,
  kConflictWithoutNonce,
  kForgetsEarlierAttempt,
  kNoCheckForNewer,
  // Collector.
  kNoTombstone,
  kNoSecondRead,
  kRecordsBeforePins,
  kDropTombstoneBeforeGone,
  kDropTombstonesOfOthers,
  kTombstoneNameUsedAgain,
  kReadErrorIsAbsent,
  kHeadErrorIsGone,
  kNoVoid,
  kPinCheckInsteadOfVoid,
  kPinDeletedBeforeVoid,
  kPinsNeverExpire,
  kTombstonesOfGoneObjectsStay,
  // Remove and retention.
  kRemoveByDelete,
  kRemovalUnconditional,
  kVoidDeletedBelowVoid,
  // Pull.
  kPullPinAfterCheck,
  kPullTakesVoidForState,
};

enum class RemoverMode : std::uint8_t { kNone, kRemove, kRetention };
enum class PullMode : std::uint8_t { kNone, kPlain, kPinned };

/// Who takes part, and what may go wrong.
struct Config {
  std::string_view name = {};
  int pushers = 2;
  bool two_names = false;  ///< the second pusher has a name of its own, which does not exist yet
  bool reuse = true;       ///< pushes want to reuse object 0
  bool upload = true;      ///< pushes upload an object of their own
  int second_pushes = 0;   ///< the last pusher pushes once more after its first push
  int collectors = 1;
  int cycles = 1;           ///< of each collector
  bool first_read = false;  ///< collectors read before they make a tombstone, not only after it
  bool expiry = true;       ///< any pin may be found to be past its time
  RemoverMode remover = RemoverMode::kNone;
  PullMode puller = PullMode::kNone;
  bool initially_removed = false;  ///< nothing references object 0 at the start
  int lost_answers = 0;
  int crashes = 0;
  Mutation mutation = Mutation::kNone;

  [[nodiscard]] bool mutated(Mutation by) const { return mutation == by; }
  [[nodiscard]] int name_of(int pusher) const { return two_names ? pusher : 0; }
  [[nodiscard]] int name_of_push(int push) const { return name_of(push / kAttempts); }
  [[nodiscard]] bool pushes_twice(int pusher) const {
    return second_pushes > 0 && pusher == pushers - 1;
  }
};

enum class PushStep : std::uint8_t {
  kEnded,
  kListNewer,
  kPutPin,
  kListTombstones,
  kHead,
  kUpload,
  kPutManifest,
  kGetRecord,
  kListAfter,
  kCheckPin,
  kDropPin,
  kDropOldPin,
};

enum class Outcome : std::uint8_t { kNone, kAcknowledged, kConflict, kFailed, kDied };

struct Pusher {
  PushStep step = PushStep::kEnded;
  Outcome outcome = Outcome::kNone;
  Small attempt;
  Small base;    ///< the number of the state that this one descends from
  Small cursor;  ///< of a list
  Small newest;  ///< the last state that a list has shown
  Small part;    ///< of the manifest: 0 the layer to be reused, 1 the layer to be uploaded
  Small names;   ///< used by this attempt
};

enum class CollectStep : std::uint8_t {
  kEnded,
  kChoose,
  kPutVoid,
  kDeletePin,
  kFirstPins,
  kFirstRecords,
  kPutTombstone,
  kSecondPins,
  kSecondRecords,
  kDelete,
  kHeadDeleted,
  kDropTombstone,
  kHeadOfOther,
  kDropOther,
};

struct Collector {
  CollectStep step = CollectStep::kEnded;
  Small cycle;
  Small object;
  Small cursor;  ///< of a list; or the pin or the tombstone that is dealt with
};

enum class RemoveStep : std::uint8_t {
  kEnded,
  kList,
  kPutRemoval,
  kGetRecord,
  kListAfter,
  kDelete,
};

struct Remover {
  RemoveStep step = RemoveStep::kEnded;
  Small number;  ///< of the newest state, then of the removal
  Small cursor;  ///< of a list, then the number that is deleted
  Small seen;    ///< the record there
};

enum class PullStep : std::uint8_t {
  kEnded,
  kList,
  kGetManifest,
  kPutPin,
  kListTombstones,
  kHead,
  kGetObject,
  kDropPin,
};

struct Puller {
  PullStep step = PullStep::kEnded;
  Small cursor;        ///< of a list; then the part of the manifest
  Small number;        ///< of the newest state
  Small seen;          ///< the record there
  Small is_protected;  ///< the pin holds: what it names stays, even if the snapshot is removed
};

/// What has happened, as far as the properties ask for it.
class History {
 public:
  /// The removal of this record (a manifest) was asked for.
  [[nodiscard]] bool removed(int record) const { return facts_.has(record); }
  void note_removed(int record) { facts_.add(record); }

  /// A manifest of this pusher was stored at some time.
  [[nodiscard]] bool stored_manifest(int pusher) const { return facts_.has(kStored + pusher); }
  void note_stored_manifest(int pusher) { facts_.add(kStored + pusher); }

  [[nodiscard]] bool stored_removal() const { return facts_.has(kStored + kPushers); }
  void note_stored_removal() { facts_.add(kStored + kPushers); }

  /// The name of an object that was deleted exists again.
  [[nodiscard]] bool name_used_again() const { return facts_.has(kUsedAgain); }
  void note_name_used_again() { facts_.add(kUsedAgain); }

  [[nodiscard]] bool acknowledged(int push) const { return facts_.has(kAcknowledged + push); }
  void note_acknowledged(int push) { facts_.add(kAcknowledged + push); }

 private:
  static constexpr int kStored = 8;  // after every Record
  static constexpr int kUsedAgain = kStored + kPushers + 1;
  static constexpr int kAcknowledged = kUsedAgain + 1;
  static_assert(kRemoval < kStored && kAcknowledged + kPushes <= 16);

  Set facts_;
};

struct World {
  Bucket bucket;
  LateRequests late;
  Set made;  ///< objects that exist or have existed
  History history;
  Small manifests[kPushes];  ///< the two objects of each push's manifest, 4 bits each
  Small numbers[kPushes];    ///< the number that each push publishes, as its pin says
  Small lost_answers;        ///< that may still get lost
  Small crashes;             ///< that may still come
  Pusher pushers[kPushers];
  Collector collectors[2];
  Remover remover;
  Puller puller;
  Small unused;

  [[nodiscard]] int push_of(int pusher) const {
    return pusher * kAttempts + pushers[pusher].attempt;
  }

  /// The object of a part of a push's manifest; kNoObject: not decided, or there is no such part.
  [[nodiscard]] int object_of(int push, int part) const {
    return part == 0 ? manifests[push] & 15 : manifests[push] >> 4;
  }
  void set_object(int push, int part, int object) {
    manifests[push] =
        part == 0 ? (manifests[push] & 0xf0) | object : (manifests[push] & 0x0f) | (object << 4);
  }
};
static_assert(sizeof(World) == 72);
static_assert(std::has_unique_object_representations_v<World> && std::is_standard_layout_v<World>);

/// The objects that a record references.
Set references(const World& world, int record);

/// The object that a push would like to reuse for this part; kNoObject: it uploads one.
int candidate(const Config& config, const World& world, int push, int part);

/// The objects that a pin protects.
Set protects(const Config& config, const World& world, int pin);

/// The state in which everything begins.
World initial_world(const Config& config);

/// Lets a request take effect, now or late, and notes what the properties need.
bool take_effect(const Config& config, World& world, Request request);

/// Notes that a request was sent, whatever becomes of it.
void note_sent(World& world, Request request);

/// For test names and traces: "kNoPin" and what it leaves out.
std::string_view word_of(Mutation mutation);

}  // namespace lamina::object_tier_model
