#include "configurations.h"

namespace lamina::object_tier_model {

namespace {

using enum Mutation;

constexpr Config kTwoPushers{
    .name = "two pushers", .pushers = 2, .upload = false, .initially_removed = true};
constexpr Config kTwoCollectors{.name = "two collectors",
                                .pushers = 1,
                                .upload = false,
                                .collectors = 2,
                                .initially_removed = true,
                                .lost_answers = 1};
constexpr Config kUpload{
    .name = "uploads", .pushers = 1, .collectors = 1, .initially_removed = true, .lost_answers = 2};
constexpr Config kCrashes{
    .name = "crashes", .pushers = 1, .collectors = 2, .initially_removed = true, .crashes = 1};
constexpr Config kRemove{.name = "remove",
                         .pushers = 1,
                         .upload = false,
                         .remover = RemoverMode::kRemove,
                         .lost_answers = 1};
constexpr Config kRetention{.name = "retention",
                            .pushers = 2,
                            .reuse = false,
                            .second_pushes = 1,
                            .collectors = 0,
                            .remover = RemoverMode::kRetention,
                            .lost_answers = 1};
constexpr Config kPull{.name = "pull",
                       .pushers = 1,
                       .upload = false,
                       .collectors = 1,
                       .remover = RemoverMode::kRemove,
                       .puller = PullMode::kPlain};
constexpr Config kProtectedPull{.name = "protected pull",
                                .pushers = 0,
                                .collectors = 2,
                                .remover = RemoverMode::kRemove,
                                .puller = PullMode::kPinned,
                                .lost_answers = 1,
                                .crashes = 1};
constexpr Config kTwoNames{.name = "two names",
                           .pushers = 2,
                           .two_names = true,
                           .upload = false,
                           .initially_removed = true};
constexpr Config kFirstRead{.name = "first read",
                            .pushers = 1,
                            .first_read = true,
                            .remover = RemoverMode::kRemove,
                            .lost_answers = 1};

/// Where most faults show: an object that nothing references, one push that wants to reuse it.
constexpr Config kReuse{.pushers = 1, .upload = false, .collectors = 1, .initially_removed = true};

constexpr Fault fault(Mutation mutation, Violation violation, Config config) {
  config.name = "";
  config.mutation = mutation;
  return {violation, config};
}

constexpr Config with_lost(Config config, int lost_answers) {
  config.lost_answers = lost_answers;
  return config;
}

constexpr Config with_crashes(Config config, int crashes) {
  config.crashes = crashes;
  return config;
}

constexpr Config with_collectors(Config config, int collectors, int cycles = 1) {
  config.collectors = collectors;
  config.cycles = cycles;
  return config;
}

constexpr Config with_pushers(Config config, int pushers) {
  config.pushers = pushers;
  return config;
}

constexpr Config with_uploads(Config config) {
  config.upload = true;
  return config;
}

constexpr Config only_uploads(Config config) {
  config.upload = true;
  config.reuse = false;
  return config;
}

constexpr Config with_remover(Config config, RemoverMode remover) {
  config.remover = remover;
  return config;
}

constexpr Config named(Config config, std::string_view name) {
  config.name = name;
  return config;
}

}  // namespace

std::vector<Config> small_configurations() {
  return {kTwoPushers, kTwoCollectors, kUpload,        kCrashes,  kRemove,
          kRetention,  kPull,          kProtectedPull, kTwoNames, kFirstRead};
}

std::vector<Config> whole_configurations() {
  const Config remove_two_pushers = with_pushers(with_lost(kRemove, 0), 2);
  return {
      named(with_lost(kTwoPushers, 1), "two pushers, collector, 1 late"),
      named(with_crashes(kTwoPushers, 1), "two pushers, collector, 1 crash"),
      named(with_collectors(kTwoPushers, 2), "two pushers, two collectors"),
      named(with_crashes(with_lost(kTwoPushers, 1), 1), "two pushers, collector, 1 late, 1 crash"),
      named(with_lost(kTwoCollectors, 2), "pusher, two collectors, 2 late"),
      named(with_crashes(kTwoCollectors, 1), "pusher, two collectors, 1 late, 1 crash"),
      named(with_crashes(kCrashes, 2), "pusher with upload, two collectors, 2 crashes"),
      named(with_uploads(kTwoCollectors), "pusher with upload, two collectors, 1 late"),
      named(with_lost(kUpload, 3), "pusher with upload, collector, 3 late"),
      named(with_collectors(kUpload, 1, 2), "pusher with upload, collector, two cycles, 2 late"),
      named(remove_two_pushers, "two pushers, collector, remover"),
      named(with_lost(kRemove, 2), "pusher, collector, remover, 2 late"),
      named(with_collectors(kRemove, 2), "pusher, two collectors, remover, 1 late"),
      named(with_collectors(kRetention, 1), "three pushes, collector, retention, 1 late"),
      named(with_crashes(with_lost(kRetention, 3), 1), "three pushes, retention, 3 late, 1 crash"),
      named(with_crashes(kPull, 1), "pusher, collector, remover, puller, 1 crash"),
      named(with_lost(kPull, 1), "pusher, collector, remover, puller, 1 late"),
      named(with_lost(kProtectedPull, 2), "two collectors, remover, lasting pull, 2 late, 1 crash"),
      named(with_collectors(kTwoNames, 2), "two names, two collectors"),
      named(with_lost(kTwoNames, 1), "two names, collector, 1 late"),
  };
}

std::vector<Fault> faults() {
  using enum Violation;
  const Config two_pushers = with_collectors(only_uploads(with_lost(kTwoPushers, 0)), 0);
  const Config removal{.pushers = 2,
                       .reuse = false,
                       .collectors = 0,
                       .remover = RemoverMode::kRemove,
                       .lost_answers = 1};
  const Config pull{
      .pushers = 0, .collectors = 1, .remover = RemoverMode::kRemove, .puller = PullMode::kPinned};
  const Config pull_beside_push{
      .pushers = 1, .upload = false, .collectors = 1, .puller = PullMode::kPlain};
  return {
      fault(kNoPin, kLost, kReuse),
      fault(kPinAfterUpload, kLost, kReuse),
      fault(kPinAfterUpload, kLost, only_uploads(kReuse)),
      fault(kOnePinNameForAllAttempts, kLost, with_lost(kReuse, 1)),
      fault(kNoTombstoneCheck, kLost, kReuse),
      fault(kHeadBeforeTombstones, kLost, kReuse),
      fault(kNoHead, kLost, kReuse),
      fault(kReuseDeletedName, kLost, kReuse),
      fault(kSameNameAfterUnknownUpload, kNameUsedAgain, with_lost(only_uploads(kReuse), 1)),
      fault(kSameNameAfterUnknownUpload, kLost, with_lost(only_uploads(kReuse), 2)),
      fault(kDropPinBeforeManifest, kLost, kReuse),
      fault(kManifestUnconditional, kLost, two_pushers),
      fault(kUnknownManifestIsStored, kLost, with_lost(kReuse, 1)),
      fault(kUnknownManifestIsNotStored, kBroken, with_lost(kReuse, 1)),
      fault(kConflictWithoutNonce, kFalseConflict,
            with_collectors(with_lost(only_uploads(kReuse), 1), 0)),
      fault(kForgetsEarlierAttempt, kFalseConflict,
            with_crashes(with_collectors(only_uploads(kReuse), 0), 1)),
      fault(kNoCheckForNewer, kBothWin, with_lost(kRetention, 0)),
      fault(kNoTombstone, kLost, kReuse),
      fault(kNoSecondRead, kLost, kReuse),
      fault(kRecordsBeforePins, kLost, kReuse),
      fault(kDropTombstoneBeforeGone, kLost, with_lost(kReuse, 1)),
      fault(kDropTombstonesOfOthers, kLost, with_collectors(kReuse, 2)),
      fault(kTombstoneNameUsedAgain, kLost, with_collectors(with_lost(kReuse, 1), 1, 2)),
      fault(kReadErrorIsAbsent, kLost, with_lost(kReuse, 1)),
      fault(kHeadErrorIsGone, kLost, with_lost(kReuse, 2)),
      fault(kNoVoid, kLost, kReuse),
      fault(kPinCheckInsteadOfVoid, kBroken, kReuse),
      fault(kPinCheckInsteadOfVoid, kLost, with_lost(kReuse, 1)),
      fault(kPinDeletedBeforeVoid, kLost, with_collectors(kReuse, 2)),
      fault(kPinsNeverExpire, kLeftovers, with_crashes(kReuse, 1)),
      fault(kTombstonesOfGoneObjectsStay, kLeftovers, with_crashes(kReuse, 1)),
      fault(kRemoveByDelete, kWentBack, removal),
      fault(kRemoveByDelete, kLost, removal),
      fault(kRemovalUnconditional, kLost, removal),
      fault(kVoidDeletedBelowVoid, kBroken,
            with_remover(with_lost(only_uploads(kReuse), 1), RemoverMode::kRetention)),
      fault(kPullPinAfterCheck, kPullFailed, pull),
      fault(kPullTakesVoidForState, kPullFailed, pull_beside_push),
  };
}

}  // namespace lamina::object_tier_model
