// The requests about a bucket to the daemon, as requests.h. The daemon has the credentials and the
// keys: no request contains any.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/remote.h"
#include "schema/requests.h"

namespace lamina::schema {

/// A resume that may pull the snapshot first.
struct ResumeRequest {
  ResumeOptions options;
  bool pull = false;
  bool lazy = false;
  std::uint64_t wait_limit = 3600;  ///< as LazyPullOptions::wait_limit, in seconds
};

/// PruneOptions without optional numbers; 0: the rule is not given.
struct PruneRequest {
  std::string url;
  std::uint64_t keep_last = 0;
  std::uint64_t keep_daily = 0;
  std::uint64_t keep_within = 0;  ///< seconds
  std::string names = "*";
  bool dry_run = false;
};

inline constexpr Range kKeptStates{1, 1'000'000};
inline constexpr Range kWaitSeconds{1, std::uint64_t{1} << 32};
inline constexpr Range kKeptSeconds{1, std::uint64_t{1} << 32};

inline constexpr Field kUrl{.name = "url",
                            .help = "The bucket: s3://… or file:///…. Default: that of --push"};

template <typename Visitor, Is<PushOptions> Options>
void describe(Visitor& v, Options& o) {
  v.snapshot({.name = "name", .help = "Of the snapshot", .required = true}, o.snapshot);
  v.text({.name = "as", .help = "Name in the bucket. Default: that of the snapshot"}, o.name);
  v.text(kUrl, o.url);
  v.choice({.name = "codec", .help = "How to compress"}, o.codec);
  v.flag({.name = "replace",
          .help = "Publish after the newest state, also if the snapshot does not descend from it"},
         o.replace);
}

template <typename Visitor, Is<PullOptions> Options>
void describe(Visitor& v, Options& o) {
  v.text({.name = "name", .help = "In the bucket", .required = true}, o.name);
  v.text({.name = "as", .help = "Name of the new snapshot. Default: that in the bucket"}, o.as);
  v.text(kUrl, o.url);
}

template <typename Visitor, Is<PruneRequest> Request>
void describe(Visitor& v, Request& r) {
  v.text(kUrl, r.url);
  v.number({.name = "keep_last", .help = "Keep the newest states of a name: how many"}, r.keep_last,
           kKeptStates);
  v.number({.name = "keep_daily", .help = "Keep the newest state of each day (UTC): how many days"},
           r.keep_daily, kKeptStates);
  v.number({.name = "keep_within", .help = "Keep the states of so many seconds"}, r.keep_within,
           kKeptSeconds);
  v.text({.name = "names", .help = "Apply the rules to names that match this pattern only"},
         r.names);
  v.flag({.name = "dry_run", .help = "Only report what would be removed"}, r.dry_run);
}

template <typename Visitor, Is<ResumeRequest> Request>
void describe(Visitor& v, Request& r) {
  describe(v, r.options);
  v.flag(
      {.name = "pull",
       .help = "If the store does not have the snapshot, pull it from the bucket of --push first"},
      r.pull);
  v.flag({.name = "lazy",
          .help = "As pull, but the VM runs while its memory is fetched (not with mode file)"},
         r.lazy);
  v.number({.name = "wait_limit",
            .help = "With lazy: kill the VM if a block takes longer; seconds. Default: 3600"},
           r.wait_limit, kWaitSeconds);
}

}  // namespace lamina::schema
