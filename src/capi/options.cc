#include "capi/options.h"

#include <limits>

namespace lamina::capi {
namespace {

VmmTimeouts timeouts(OptionReader& reader, std::uint64_t request_ms, std::uint64_t create_ms,
                     std::uint64_t load_ms) {
  VmmTimeouts made;
  auto& [request, create, load] = made;
  request = reader.milliseconds(request_ms, request, "request_timeout_ms");
  create = reader.milliseconds(create_ms, create, "create_timeout_ms");
  load = reader.milliseconds(load_ms, load, "load_timeout_ms");
  return made;
}

VmmAddress vmm_address(OptionReader& reader, const lamina_vmm* given) {
  VmmAddress made;
  auto& [api_socket, jail, timeouts_of_vmm] = made;
  if (given == nullptr) {
    reader.refuse(Error{ErrorKind::kUsage, "vmm is not set"});
    return made;
  }
  auto known = read_struct("lamina_vmm", given);
  if (!known) {
    reader.refuse(std::move(known.error()));
    return made;
  }
  api_socket = reader.required(known->api_socket, "vmm.api_socket");
  jail = OptionReader::text(known->jail);
  timeouts_of_vmm =
      timeouts(reader, known->request_timeout_ms, known->create_timeout_ms, known->load_timeout_ms);
  return made;
}

std::optional<std::uint64_t> unless_zero(std::uint64_t value) {
  if (value == 0) return std::nullopt;
  return value;
}

/// What both ways of pulling have.
template <typename Given>
PullOptions pull_options(OptionReader& reader, const Given& given) {
  PullOptions made;
  auto& [url, name, store, as, key_file, key_command, requests, progress, cache_bytes] = made;
  static_cast<void>(requests);  // as of a push
  url = reader.required(given.url, "url");
  name = reader.required(given.name, "name");
  as = OptionReader::text(given.as);
  key_file = OptionReader::text(given.key_file);
  key_command = OptionReader::text(given.key_command);
  progress = reader.progress(given.progress);
  cache_bytes = unless_zero(given.cache_bytes);
  return made;
}

std::chrono::seconds seconds(OptionReader& reader, std::uint64_t value, std::string_view field) {
  /// A century, so that arithmetic on times cannot overflow.
  constexpr std::uint64_t kMaxSeconds = 3'155'760'000;
  if (value > kMaxSeconds) {
    reader.refuse(fail(ErrorKind::kUsage, "{} is {}, more than a century", field, value).error());
  }
  return std::chrono::seconds(std::min(value, kMaxSeconds));
}

/// Calls a function of the program. It is compiled as C, so it throws nothing.
std::function<Status()> calling(int (*function)(void* context), void* context) {
  if (function == nullptr) return {};
  return [function, context]() -> Status {
    const int result = function(context);
    if (result == 0) return {};
    return fail(ErrorKind::kFailed, "while_frozen returned {}", result);
  };
}

}  // namespace

IngestOptions convert(OptionReader& reader, const lamina_ingest_options& given) {
  IngestOptions made;
  auto& [memory_file, memory_fd, memory, snapshot, parent, kind, vmstate_file, build_id, layout,
         consume, replace, zeros, huge_pages, dedup, header, progress] = made;
  memory_file = OptionReader::text(given.memory_file);
  if (reader.flag(given.has_memory_fd, "has_memory_fd")) {
    memory_fd = given.memory_fd;
    if (memory_fd < 0) {
      reader.refuse(
          fail(ErrorKind::kUsage, "memory_fd is {}, not a descriptor", memory_fd).error());
    }
  } else if (given.memory_fd != 0) {
    reader.refuse(Error{.kind = ErrorKind::kUsage,
                        .message = "memory_fd is set, and has_memory_fd is not",
                        .remedy = "set `has_memory_fd`"});
  }
  if (given.memory == nullptr && given.memory_bytes != 0) {
    reader.refuse(
        fail(ErrorKind::kUsage, "memory is null, with {} bytes", given.memory_bytes).error());
  } else {
    memory = {static_cast<const std::byte*>(given.memory), given.memory_bytes};
  }
  snapshot = reader.required(given.snapshot, "snapshot");
  parent = OptionReader::optional_text(given.parent);
  kind = reader.choice<MemoryFileKind>(given.kind, "kind");
  vmstate_file = OptionReader::optional_text(given.vmstate_file);
  build_id = OptionReader::id(given.build_id);
  layout = reader.choice<Layout>(given.layout, "layout");
  consume = reader.flag(given.consume, "consume");
  replace = reader.flag(given.replace, "replace");
  zeros = reader.choice<Zeros>(given.zeros, "zeros");
  huge_pages = reader.choice<HugePages>(given.huge_pages, "huge_pages");
  dedup = reader.choice<Dedup>(given.dedup, "dedup");
  header = reader.choice<HeaderFormat>(given.header, "header");
  progress = reader.progress(given.progress);
  return made;
}

MergeOptions convert(OptionReader& reader, const lamina_merge_options& given) {
  MergeOptions made;
  auto& [snapshot, out, layers, progress, only_build] = made;
  snapshot = reader.required(given.snapshot, "snapshot");
  out = OptionReader::optional_text(given.out);
  if (given.layers != 0) layers = given.layers;
  progress = reader.progress(given.progress);
  only_build = OptionReader::id(given.only_build);
  reader.must_be_zero(given.reserved);
  return made;
}

CompactOptions convert(OptionReader& reader, const lamina_compact_options& given) {
  CompactOptions made;
  auto& [snapshot, policy, dry_run, rate_limit_bytes_s, background, progress] = made;
  snapshot = reader.required(given.snapshot, "snapshot");
  if (given.policy != nullptr) policy = given.policy;
  dry_run = reader.flag(given.dry_run, "dry_run");
  rate_limit_bytes_s = given.rate_limit_bytes_s;
  background = reader.flag(given.background, "background");
  progress = reader.progress(given.progress);
  return made;
}

MaterializeOptions convert(OptionReader& reader, const lamina_materialize_options& given) {
  MaterializeOptions made;
  auto& [snapshot, out, reflink, progress] = made;
  snapshot = reader.required(given.snapshot, "snapshot");
  out = reader.required(given.out, "out");
  reflink = reader.choice<Reflink>(given.reflink, "reflink");
  progress = reader.progress(given.progress);
  reader.must_be_zero(given.reserved);
  return made;
}

VerifyOptions convert(OptionReader& reader, const lamina_verify_options& given) {
  VerifyOptions made;
  auto& [snapshot, against, progress] = made;
  snapshot = reader.required(given.snapshot, "snapshot");
  against = OptionReader::optional_text(given.against);
  progress = reader.progress(given.progress);
  return made;
}

ListOptions convert(OptionReader& reader, const lamina_list_options& given) {
  ListOptions made;
  auto& [dead_bytes] = made;
  dead_bytes = reader.flag(given.dead_bytes, "dead_bytes");
  reader.must_be_zero(given.reserved);
  return made;
}

ForkOptions convert(OptionReader& reader, const lamina_fork_options& given) {
  ForkOptions made;
  auto& [snapshot, fork, progress] = made;
  snapshot = reader.required(given.snapshot, "snapshot");
  fork = reader.required(given.fork, "fork");
  progress = reader.progress(given.progress);
  return made;
}

RemoveOptions convert(OptionReader& reader, const lamina_remove_options& given) {
  RemoveOptions made;
  auto& [snapshots, dry_run, pause_id, progress] = made;
  snapshots = reader.texts(given.snapshots, given.snapshot_count, "snapshots");
  dry_run = reader.flag(given.dry_run, "dry_run");
  pause_id = OptionReader::id(given.pause_id);
  progress = reader.progress(given.progress);
  reader.must_be_zero(given.reserved);
  return made;
}

PauseOptions convert(OptionReader& reader, const lamina_pause_options& given) {
  PauseOptions made;
  auto& [vmm, store, name, after, frozen_hook, hook_timeout, while_frozen, attachments, full,
         replace, once, freeze_memory_bytes, freeze_directory, pause_id, progress,
         page_server_command] = made;
  vmm = vmm_address(reader, given.vmm);
  name = reader.required(given.name, "name");
  after = reader.choice<AfterPause>(given.after, "after");
  frozen_hook = OptionReader::text(given.frozen_hook);
  hook_timeout = reader.milliseconds(given.hook_timeout_ms, hook_timeout, "hook_timeout_ms");
  while_frozen = calling(given.while_frozen, given.context);
  attachments = reader.texts(given.attachments, given.attachment_count, "attachments");
  full = reader.flag(given.full, "full");
  replace = reader.flag(given.replace, "replace");
  pause_id = OptionReader::id(given.pause_id);
  progress = reader.progress(given.progress);
  page_server_command = reader.texts(given.page_server_command, given.page_server_argument_count,
                                     "page_server_command");
  if (given.freeze_memory_bytes == LAMINA_NO_FREEZE_MEMORY) {
    freeze_memory_bytes = 0;
  } else if (given.freeze_memory_bytes != 0) {
    freeze_memory_bytes = given.freeze_memory_bytes;
  }
  freeze_directory = OptionReader::text(given.freeze_directory);
  once = reader.flag(given.once, "once");
  reader.must_be_zero(given.reserved);
  reader.must_be_zero(given.reserved2);
  return made;
}

namespace {

// `Given` has the fields of lamina_resume_options.

template <typename Given>
std::vector<NetworkOverride> networks(OptionReader& reader, const Given& given) {
  std::vector<NetworkOverride> made;
  if (!reader.is_array(given.network_overrides == nullptr, given.network_override_count,
                       "network_overrides")) {
    return made;
  }
  for (std::size_t i = 0; i < given.network_override_count && reader.status(); ++i) {
    const lamina_network_override& one = given.network_overrides[i];
    made.emplace_back(reader.required(one.interface_id, "network_overrides.interface_id"),
                      reader.required(one.host_device, "network_overrides.host_device"));
  }
  return made;
}

template <typename Given>
std::vector<DriveOverride> drives(OptionReader& reader, const Given& given) {
  std::vector<DriveOverride> made;
  if (!reader.is_array(given.drive_overrides == nullptr, given.drive_override_count,
                       "drive_overrides")) {
    return made;
  }
  for (std::size_t i = 0; i < given.drive_override_count && reader.status(); ++i) {
    const lamina_drive_override& one = given.drive_overrides[i];
    made.emplace_back(reader.required(one.drive_id, "drive_overrides.drive_id"),
                      reader.required(one.path, "drive_overrides.path"));
  }
  return made;
}

/// All but `vmm` and `name`.
ResumeOptions how_to_resume(OptionReader& reader, const lamina_resume_options& given) {
  ResumeOptions made;
  auto& [vmm, store, name, mode, populate, record, no_record, network_overrides, vsock_override,
         drive_overrides, serial_override, console_override, clock_realtime, huge_pages,
         stay_paused, mmds, again, page_server_command, progress] = made;
  mode = reader.choice<ResumeMode>(given.mode, "mode");
  populate = reader.choice<Populate>(given.populate, "populate");
  record = reader.flag(given.record, "record");
  no_record = reader.flag(given.no_record, "no_record");
  network_overrides = networks(reader, given);
  drive_overrides = drives(reader, given);
  serial_override = OptionReader::text(given.serial_override);
  console_override = OptionReader::text(given.console_override);
  vsock_override = OptionReader::text(given.vsock_override);
  clock_realtime = reader.flag(given.clock_realtime, "clock_realtime");
  huge_pages = reader.choice<HugePages>(given.huge_pages, "huge_pages");
  stay_paused = reader.flag(given.stay_paused, "stay_paused");
  mmds = OptionReader::text(given.mmds);
  again = reader.flag(given.again, "again");
  page_server_command = reader.texts(given.page_server_command, given.page_server_argument_count,
                                     "page_server_command");
  progress = reader.progress(given.progress);
  return made;
}

/// A struct that options point to.
template <typename Options>
std::optional<Options> inner(OptionReader& reader, std::string_view name, const Options* given) {
  auto known = read_struct(name, given);
  if (known) return *known;
  reader.refuse(std::move(known.error()));
  return std::nullopt;
}

CloneDevices devices_of_clone(OptionReader& reader, const lamina_clone_devices* given) {
  CloneDevices made;
  auto& [network_overrides, vsock_override, drive_overrides, serial_override, console_override] =
      made;
  if (const auto known = inner(reader, "lamina_clone_devices", given)) {
    network_overrides = networks(reader, *known);
    vsock_override = OptionReader::text(known->vsock_override);
    drive_overrides = drives(reader, *known);
    serial_override = OptionReader::text(known->serial_override);
    console_override = OptionReader::text(known->console_override);
  }
  return made;
}

}  // namespace

ResumeOptions convert(OptionReader& reader, const lamina_resume_options& given) {
  ResumeOptions made = how_to_resume(reader, given);
  made.vmm = vmm_address(reader, given.vmm);
  made.name = reader.required(given.name, "name");
  return made;
}

LiveForkOptions convert(OptionReader& reader, const lamina_live_fork_options& given) {
  LiveForkOptions made;
  auto& [pause, resume, clones, devices] = made;
  if (given.pause == nullptr) {
    reader.refuse(Error{ErrorKind::kUsage, "pause is not set"});
    return made;
  }
  if (const auto known = inner(reader, "lamina_pause_options", given.pause)) {
    pause = convert(reader, *known);
  }
  if (const auto known = inner(reader, "lamina_resume_options", given.resume)) {
    resume = how_to_resume(reader, *known);
    if (known->vmm != nullptr || known->name != nullptr) {
      reader.refuse(Error{.kind = ErrorKind::kUsage,
                          .message = "resume.vmm or resume.name is set",
                          .remedy = "leave them null: `clones` has the Firecrackers"});
    }
  }
  if (!reader.is_array(given.clones == nullptr, given.clone_count, "clones")) return made;
  for (std::size_t i = 0; i < given.clone_count && reader.status(); ++i) {
    clones.push_back(vmm_address(reader, given.clones[i]));
  }
  if (!reader.is_array(given.devices == nullptr, given.device_count, "devices")) return made;
  for (std::size_t i = 0; i < given.device_count && reader.status(); ++i) {
    devices.push_back(devices_of_clone(reader, given.devices[i]));
  }
  return made;
}

RecoverOptions convert(OptionReader& reader, const lamina_recover_options& given) {
  RecoverOptions made;
  auto& [store, timeouts_of_vmm, page_server_command, dry_run, give_up, adopt_store, progress] =
      made;
  timeouts_of_vmm =
      timeouts(reader, given.request_timeout_ms, given.create_timeout_ms, given.load_timeout_ms);
  page_server_command = reader.texts(given.page_server_command, given.page_server_argument_count,
                                     "page_server_command");
  dry_run = reader.flag(given.dry_run, "dry_run");
  if (reader.is_array(given.give_up == nullptr, given.give_up_count, "give_up")) {
    for (std::size_t i = 0; i < given.give_up_count; ++i) {
      give_up.push_back(*OptionReader::id(&given.give_up[i]));
    }
  }
  adopt_store = reader.flag(given.adopt_store, "adopt_store");
  progress = reader.progress(given.progress);
  return made;
}

PackOptions convert(OptionReader& reader, const lamina_pack_options& given) {
  PackOptions made;
  auto& [snapshot, out, codec, frame_blocks, key_file, key_command, progress] = made;
  snapshot = reader.required(given.snapshot, "snapshot");
  out = reader.required(given.out, "out");
  codec = reader.choice<PackCodec>(given.codec, "codec");
  if (given.frame_blocks != 0) frame_blocks = given.frame_blocks;
  key_file = OptionReader::text(given.key_file);
  key_command = OptionReader::text(given.key_command);
  progress = reader.progress(given.progress);
  return made;
}

UnpackOptions convert(OptionReader& reader, const lamina_unpack_options& given) {
  UnpackOptions made;
  auto& [file, snapshot, key_file, key_command, progress] = made;
  file = reader.required(given.file, "file");
  snapshot = reader.required(given.snapshot, "snapshot");
  key_file = OptionReader::text(given.key_file);
  key_command = OptionReader::text(given.key_command);
  progress = reader.progress(given.progress);
  return made;
}

PushOptions convert(OptionReader& reader, const lamina_push_options& given) {
  PushOptions made;
  // `requests` counts for laminad's metrics; C has no map.
  auto& [url, snapshot, name, codec, key_file, key_command, replace, dry_run, rate_limit_bytes_s,
         background, requests, progress] = made;
  static_cast<void>(requests);
  url = reader.required(given.url, "url");
  snapshot = reader.required(given.snapshot, "snapshot");
  name = OptionReader::text(given.name);
  codec = reader.choice<PackCodec>(given.codec, "codec");
  key_file = OptionReader::text(given.key_file);
  key_command = OptionReader::text(given.key_command);
  replace = reader.flag(given.replace, "replace");
  rate_limit_bytes_s = given.rate_limit_bytes_s;
  background = reader.flag(given.background, "background");
  dry_run = reader.flag(given.dry_run, "dry_run");
  progress = reader.progress(given.progress);
  reader.must_be_zero(given.reserved);
  reader.must_be_zero(given.reserved2);
  return made;
}

PullOptions convert(OptionReader& reader, const lamina_pull_options& given) {
  return pull_options(reader, given);
}

LazyPullOptions convert(OptionReader& reader, const lamina_begin_pull_options& given) {
  LazyPullOptions made;
  auto& [pull, fetch_command, wait_limit] = made;
  pull = pull_options(reader, given);
  fetch_command = reader.texts(given.fetch_command, given.fetch_argument_count, "fetch_command");
  if (given.wait_limit_s == LAMINA_NO_WAIT_LIMIT) {
    wait_limit = std::chrono::seconds(0);
  } else if (given.wait_limit_s != 0) {
    wait_limit = seconds(reader, given.wait_limit_s, "wait_limit_s");
  }
  return made;
}

FetchOptions convert(OptionReader& reader, const lamina_fetch_options& given) {
  FetchOptions made;
  auto& [store, arrival, requests, progress] = made;
  static_cast<void>(requests);  // as of a push
  const std::optional<Uuid> id = OptionReader::id(given.arrival);
  if (!id || id->is_nil()) {
    reader.refuse(
        Error{.kind = ErrorKind::kUsage,
              .message = "arrival is null or nil",
              .remedy = "set it to the id of an arrival, as lamina_recover() lists them"});
  } else {
    arrival = *id;
  }
  progress = reader.progress(given.progress);
  return made;
}

RemoteListOptions convert(OptionReader& reader, const lamina_remote_list_options& given) {
  RemoteListOptions made;
  auto& [url, all, progress] = made;
  url = reader.required(given.url, "url");
  all = reader.flag(given.all, "all");
  progress = reader.progress(given.progress);
  reader.must_be_zero(given.reserved);
  return made;
}

RemoteRemoveOptions convert(OptionReader& reader, const lamina_remote_remove_options& given) {
  RemoteRemoveOptions made;
  auto& [url, name, dry_run, progress] = made;
  url = reader.required(given.url, "url");
  name = reader.required(given.name, "name");
  dry_run = reader.flag(given.dry_run, "dry_run");
  progress = reader.progress(given.progress);
  reader.must_be_zero(given.reserved);
  return made;
}

PruneOptions convert(OptionReader& reader, const lamina_prune_options& given) {
  PruneOptions made;
  auto& [url, keep_last, keep_daily, keep_within, pattern, dry_run, progress] = made;
  url = reader.required(given.url, "url");
  keep_last = unless_zero(given.keep_last);
  keep_daily = unless_zero(given.keep_daily);
  if (given.keep_within_s != 0) keep_within = seconds(reader, given.keep_within_s, "keep_within_s");
  if (given.pattern != nullptr) pattern = given.pattern;
  dry_run = reader.flag(given.dry_run, "dry_run");
  progress = reader.progress(given.progress);
  reader.must_be_zero(given.reserved);
  return made;
}

RemoteKeysOptions convert(OptionReader& reader, const lamina_remote_key_list_options& given) {
  RemoteKeysOptions made;
  auto& [url, key_file, progress] = made;
  url = reader.required(given.url, "url");
  key_file = OptionReader::text(given.key_file);
  progress = reader.progress(given.progress);
  return made;
}

RotateKeyOptions convert(OptionReader& reader, const lamina_remote_key_rotate_options& given) {
  RotateKeyOptions made;
  auto& [url, pattern, old_key_file, old_key_command, key_file, key_command, keep_older, dry_run,
         progress] = made;
  url = reader.required(given.url, "url");
  if (given.pattern != nullptr) pattern = given.pattern;
  old_key_file = OptionReader::text(given.old_key_file);
  old_key_command = OptionReader::text(given.old_key_command);
  key_file = OptionReader::text(given.key_file);
  key_command = OptionReader::text(given.key_command);
  keep_older = reader.flag(given.keep_older, "keep_older");
  dry_run = reader.flag(given.dry_run, "dry_run");
  progress = reader.progress(given.progress);
  return made;
}

DestroyKeyOptions convert(OptionReader& reader, const lamina_remote_key_destroy_options& given) {
  DestroyKeyOptions made;
  auto& [url, key_id, dry_run, progress] = made;
  url = reader.required(given.url, "url");
  key_id = reader.required(given.key_id, "key_id");
  dry_run = reader.flag(given.dry_run, "dry_run");
  progress = reader.progress(given.progress);
  reader.must_be_zero(given.reserved);
  return made;
}

}  // namespace lamina::capi
