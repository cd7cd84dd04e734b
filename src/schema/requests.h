// The requests about a store, on the command line and to its daemon.
//
// A visitor has a method for each type of field. store() is the store of the request: an argument
// on the command line; in a request to the daemon it is optional, and must be the daemon's store. A
// snapshot is a path on the command line and a name in a request. path() is a path as the process
// that executes the request sees it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/lifecycle.h"
#include "lamina/live_fork.h"
#include "lamina/remove.h"
#include "schema/field.h"

namespace lamina::schema {

inline constexpr Range kTimeoutSeconds{1, 86'400};
/// Bytes per second. The upper limit is more than any disk has.
inline constexpr Range kRate{1, std::uint64_t{1} << 62};

/// Bytes. The default, kFreezeMemoryShare, is not in the range: it is what is meant without a
/// value.
inline constexpr Range kFreezeMemory{0, std::uint64_t{1} << 62};

inline constexpr TextFormat<Uuid> kPauseIdFormat{
    "pause id",
    [](const std::string& text) -> std::optional<Uuid> {
      const auto id = Uuid::parse(text);
      if (!id) return std::nullopt;
      return *id;
    },
    [](const Uuid& id) { return id.to_string(); }};

inline constexpr TextFormat<NetworkOverride> kNetworkFormat{
    "override of a network interface (INTERFACE=DEVICE)",
    [](const std::string& text) -> std::optional<NetworkOverride> {
      const std::size_t sign = text.find('=');
      if (sign == std::string::npos || sign == 0 || sign + 1 == text.size()) return std::nullopt;
      return NetworkOverride{text.substr(0, sign), text.substr(sign + 1)};
    },
    [](const NetworkOverride& network) {
      return network.interface_id + "=" + network.host_device;
    }};

inline constexpr TextFormat<DriveOverride> kDriveFormat{
    "override of a drive (DRIVE=PATH)",
    [](const std::string& text) -> std::optional<DriveOverride> {
      const std::size_t sign = text.find('=');
      if (sign == std::string::npos || sign == 0 || sign + 1 == text.size()) return std::nullopt;
      return DriveOverride{text.substr(0, sign), text.substr(sign + 1)};
    },
    [](const DriveOverride& drive) { return drive.drive_id + "=" + drive.path; }};

// Fields of queries.
inline constexpr Field kDryRunQuery{.name = "dry_run",
                                    .help = "Change nothing, report what would be removed"};
inline constexpr Field kPauseIdQuery{
    .name = "pause_id", .help = "Only if the snapshot has the state of this pause; else 404"};
inline constexpr Field kTreeQuery{.name = "tree", .help = "Also the snapshots as trees of descent"};
inline constexpr Field kAfterQuery{.name = "after",
                                   .help = "Only events with a larger sequence number"};

template <typename Visitor, Is<VmmAddress> Address>
void describe_place(Visitor& v, Address& vmm) {
  v.path({.name = "api_socket",
          .help = "Firecracker's API socket",
          .value = "SOCKET",
          .option = "--api",
          .required = true},
         vmm.api_socket);
  v.path({.name = "jail",
          .help = "Firecracker's root (the jailer's chroot)",
          .value = "DIR",
          .api_help = "Firecracker's root (the jailer's chroot), as the daemon sees it"},
         vmm.jail);
}

template <typename Visitor, Is<VmmAddress> Address>
void describe(Visitor& v, Address& vmm) {
  describe_place(v, vmm);
  v.seconds({.name = "timeout", .help = "for short replies of Firecracker"}, vmm.timeouts.request,
            kTimeoutSeconds);
}

// Parts of PauseOptions, ResumeOptions and LiveForkOptions.

/// What is stored, and how.
template <typename Visitor, Is<PauseOptions> Options>
void describe_state(Visitor& v, Options& o) {
  describe(v, o.vmm);
  v.store(o.store);
  v.text({.name = "name", .help = "of the snapshot", .value = "NAME", .required = true}, o.name);
  v.choice({.name = "after", .help = "what to do with the VM"}, o.after);
  v.text({.name = "frozen_hook",
          .help = "command to run while the VM is frozen",
          .value = "CMD",
          .api_help = "Command for the shell, run with the daemon's rights while the VM is frozen. "
                      "Refused with --no-hooks"},
         o.frozen_hook);
  v.seconds({.name = "hook_timeout", .help = "then the hook is killed"}, o.hook_timeout,
            kTimeoutSeconds);
  v.paths({.name = "attach", .help = "file to store too, cloned while frozen", .value = "FILE"},
          o.attachments);
  v.flag({.name = "full", .help = "take a full memory file, not a diff"}, o.full);
  v.flag({.name = "replace", .help = "replace also a snapshot of another VM"}, o.replace);
}

/// How its memory is written.
template <typename Visitor, Is<PauseOptions> Options>
void describe_writing(Visitor& v, Options& o) {
  v.seconds({.name = "create_timeout", .help = "for writing the memory"}, o.vmm.timeouts.create,
            kTimeoutSeconds);
  v.number({.name = "freeze_memory",
            .help = "memory for diffs of VMs that run on (0: none)",
            .value = "BYTES",
            .api_help = "Memory, in bytes, that diffs of VMs that run on may have at a time; 0: "
                        "none. Default: the daemon's, or half of what is available"},
           o.freeze_memory_bytes, kFreezeMemory);
  v.path(
      {.name = "freeze_directory",
       .help = "for them, on tmpfs, private",
       .value = "DIR",
       .api_help = "Directory on tmpfs for them, which only the daemon's user may enter. Default: "
                   "the daemon's, or /dev/shm/lamina-freeze-UID"},
      o.freeze_directory);
}

/// How a VM gets its memory.
template <typename Visitor, Is<ResumeOptions> Options>
void describe_memory(Visitor& v, Options& o) {
  v.choice({.name = "mode", .help = "how the VM gets its memory"}, o.mode);
  v.choice({.name = "populate", .help = "fill without a fault"}, o.populate);
  v.flag({.name = "record", .help = "with uffd: record every touched block; slower"}, o.record);
  v.flag({.name = "no_record", .help = "do not even record faults"}, o.no_record);
}

/// What a VM has of its own.
template <typename Visitor, typename Options>
  requires Is<Options, ResumeOptions> || Is<Options, CloneDevices>
void describe_devices(Visitor& v, Options& o) {
  v.items({.name = "network_override", .help = "another host device", .value = "IFACE=DEV"},
          o.network_overrides, kNetworkFormat);
  v.text({.name = "vsock_override", .help = "another vsock path", .value = "PATH"},
         o.vsock_override);
  v.items({.name = "drive_override", .help = "another file of a disk", .value = "DRIVE=PATH"},
          o.drive_overrides, kDriveFormat);
  v.text({.name = "serial_override", .help = "another serial console", .value = "PATH"},
         o.serial_override);
  v.text({.name = "console_override", .help = "another console", .value = "PATH"},
         o.console_override);
}

/// What else a guest finds when it runs.
template <typename Visitor, Is<ResumeOptions> Options>
void describe_guest(Visitor& v, Options& o) {
  v.flag({.name = "clock_realtime", .help = "move the guest's clock on by the time passed"},
         o.clock_realtime);
  v.choice({.name = "huge_pages", .help = "pages of its memory"}, o.huge_pages);
  v.flag({.name = "stay_paused", .help = "load it and leave it paused"}, o.stay_paused);
  v.path({.name = "mmds",
          .help = "metadata for the guest: a JSON object",
          .value = "FILE",
          .api_help = "File with a JSON object, as the daemon sees it: the contents of the VM's "
                      "metadata service, set before it runs. The object 'lamina' is added"},
         o.mmds);
}

template <typename Visitor, Is<PauseOptions> Options>
void describe(Visitor& v, Options& o) {
  describe_state(v, o);
  v.flag({.name = "once", .help = "it may be resumed only once, and not forked"}, o.once);
  describe_writing(v, o);
}

template <typename Visitor, Is<ResumeOptions> Options>
void describe(Visitor& v, Options& o) {
  describe(v, o.vmm);
  v.store(o.store);
  v.text({.name = "name", .help = "of the snapshot", .value = "NAME", .required = true}, o.name);
  describe_memory(v, o);
  describe_devices(v, o);
  describe_guest(v, o);
  v.flag({.name = "again", .help = "also what may be resumed only once"}, o.again);
}

template <typename Visitor, Is<RecoverOptions> Options>
void describe(Visitor& v, Options& o) {
  v.store(o.store);
  v.flag({.name = "dry_run", .help = "only report what would be done"}, o.dry_run);
  v.flag({.name = "adopt_store",
          .help = "also adopt what came with a copied store",
          .api_help = "Also complete or remove what came with a copy of another store; nothing "
                      "of the other store is touched"},
         o.adopt_store);
  v.items({.name = "give_up",
           .help = "discard a queued pause: its state is lost",
           .value = "PAUSE-ID",
           .api_help = "Pause ids of queued pauses to discard: their states are lost. 404 for one "
                       "that is not queued"},
          o.give_up, kPauseIdFormat);
}

template <typename Visitor, Is<ForkOptions> Options>
void describe(Visitor& v, Options& o) {
  v.snapshot({.name = "snapshot", .help = "what to fork", .option = "SNAPSHOT", .required = true},
             o.snapshot);
  v.snapshot({.name = "new",
              .help = "the fork, in this store or another",
              .option = "NEW",
              .api_help = "Name of the fork",
              .required = true},
             o.fork);
}

template <typename Visitor, Is<RemoveOptions> Options>
void describe(Visitor& v, Options& o) {
  v.snapshots(
      {.name = "snapshots", .help = "what to remove", .option = "SNAPSHOT", .required = true},
      o.snapshots);
  v.flag({.name = "dry_run", .help = "only report what would be removed"}, o.dry_run);
  v.item({.name = "pause_id",
          .help = "only if it has the state of this pause",
          .value = "PAUSE-ID",
          .api_help = "With one snapshot: it is removed only if it has the state of this pause"},
         o.pause_id, kPauseIdFormat);
}

/// Without the snapshot, which a request names in its path.
template <typename Visitor, Is<CompactOptions> Options>
void describe(Visitor& v, Options& o) {
  v.text({.name = "policy",
          .help = "merge policy (default tiered)",
          .value = "POLICY",
          .api_help = "Merge policy; default: the daemon's",
          .is_always_sent = true},
         o.policy);
  v.flag({.name = "dry_run", .help = "only report what would be done"}, o.dry_run);
  v.number({.name = "rate",
            .help = "merge at most so many per second",
            .value = "BYTES",
            .api_help = "Bytes merged per second"},
           o.rate_limit_bytes_s, kRate);
  v.flag({.name = "background", .help = "use idle I/O and CPU priority"}, o.background);
}

}  // namespace lamina::schema
