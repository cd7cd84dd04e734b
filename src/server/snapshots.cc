#include "server/snapshots.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "store/areas.h"
#include "store/store.h"

namespace lamina::server {
namespace {

using Plan = std::shared_ptr<const pager::PopulatePlan>;

template <typename T>
void forget_closed(std::vector<std::weak_ptr<T>>& list) {
  std::erase_if(list, [](const std::weak_ptr<T>& one) { return one.expired(); });
}

bool is_of_pause(const Snapshot& snapshot, const SnapshotRequest& request) {
  return !request.pause_id ||
         (snapshot.opened.pause_id == *request.pause_id &&
          snapshot.opened.header.memory_bytes == request.memory_bytes.value_or(0));
}

Status check_fits(const Snapshot& snapshot, const SnapshotRequest& request) {
  if (!is_of_pause(snapshot, request)) {
    return fail(ErrorKind::kFailed, "'{}' is another pause now than {}, which it was resumed from",
                request.path, request.pause_id->to_string());
  }
  const std::uint64_t memory_bytes = snapshot.opened.header.memory_bytes;
  if (memory_bytes == request.memory_bytes.value_or(memory_bytes)) return {};
  return fail(ErrorKind::kCorrupt, "'{}' has {} bytes of memory, its VM {}", request.path,
              memory_bytes, *request.memory_bytes);
}

Service service_of(const SnapshotRequest& request, std::shared_ptr<const Snapshot> snapshot,
                   Plan plan) {
  return {std::move(snapshot), request.path, std::move(plan), request.recorded_to, request.record};
}

Plan plan_of(std::shared_ptr<const Replay> replay) {
  const pager::PopulatePlan* plan = &replay->plan;
  return {std::move(replay), plan};
}

/// What a pin sets, or else the server's option.
Recorded recorded_of(const std::optional<store::PinFacts>& pin, bool by_default) {
  if (pin ? pin->record.value_or(by_default) : by_default) return Recorded::kTouches;
  return pin && pin->record_faults.value_or(false) ? Recorded::kFaults : Recorded::kNothing;
}

/// Without a working set.
Plan plan_without(const SnapshotRequest& request, const std::string& why,
                  std::vector<std::string>& notes) {
  static const auto everything =
      std::make_shared<const pager::PopulatePlan>(pager::PopulatePlan{{}, true});
  if (request.populate == Populate::kNone) return nullptr;
  if (request.populate == Populate::kAll) return everything;
  notes.push_back(fmt::format("'{}' has no working set to replay: {}", request.path, why));
  return nullptr;
}

}  // namespace

SnapshotRequest Snapshots::request_for(const VmPin& pin) const {
  SnapshotRequest request;
  request.path = pin.base;
  request.is_pinned = true;
  request.populate = pin.facts ? pin.facts->populate.value_or(populate_) : populate_;
  request.record = recorded_of(pin.facts, record_);
  // (Where all is filled in advance, faults tell nothing.)
  if (request.record == Recorded::kFaults && request.populate == Populate::kAll) {
    request.record = Recorded::kNothing;
  }
  request.recorded_to = pin.snapshot_path();
  return request;
}

SnapshotRequest Snapshots::request_for(const pager::VmRecord& recorded) const {
  const pager::VmRecord record = in_its_place(recorded);
  if (const auto pin = pin_of_record(record)) {
    SnapshotRequest request = request_for(*pin);
    request.memory_bytes = record.memory_bytes;
    return request;
  }
  SnapshotRequest request;
  request.path = record.snapshot;
  request.populate = populate_;
  request.record = record_ ? Recorded::kTouches : Recorded::kNothing;
  request.recorded_to = record.snapshot;
  request.pause_id = record.pause_id;
  request.memory_bytes = record.memory_bytes;
  return request;
}

Result<SnapshotRequest> Snapshots::request_for_named(const std::string& path) const {
  SnapshotRequest request;
  LAMINA_ASSIGN_OR_RETURN(request.path, os::real_path(path));
  request.populate = populate_;
  request.record = record_ ? Recorded::kTouches : Recorded::kNothing;
  request.recorded_to = request.path;
  return request;
}

Result<std::optional<Service>> Snapshots::find_open(SnapshotRequest& request,
                                                    std::vector<std::string>& notes) {
  request.key = request.path;
  request.open = nullptr;
  if (request.is_pinned) {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, store::open_in_store(request.path));
    const auto header =
        os::open_regular(directory.get(), store::kHeaderName, O_RDONLY, request.path);
    // (What is replaced at this very moment may have no header any more, and is read.)
    if (!header) return std::nullopt;
    request.key = fmt::format("{}:{}", header->facts.device, header->facts.inode);
    request.open = find_header(header->facts);
  } else {
    for (const Service& service : named_) {
      if (service.path == request.path && is_of_pause(*service.snapshot, request)) return service;
    }
    request.open = find_named(request);
  }
  if (!request.open) return std::nullopt;
  LAMINA_RETURN_IF_ERROR(check_fits(*request.open, request));
  auto plan = find_plan(request, *request.open, notes);
  if (!plan) return std::nullopt;
  return service_of(request, request.open, std::move(*plan));
}

Result<Service> Snapshots::add(const SnapshotRequest& request, SnapshotFiles files,
                               std::vector<std::string>& notes) {
  std::shared_ptr<const Snapshot> snapshot = request.open;
  if (files.snapshot) {
    LAMINA_RETURN_IF_ERROR(check_fits(*files.snapshot, request));
    // It may have been exchanged between the two looks, for one that is open.
    if (request.is_pinned) snapshot = find_header(files.snapshot->header_facts());
    if (!snapshot) snapshot = keep(std::move(*files.snapshot));
  }
  Plan plan = files.replay ? keep_replay(std::move(*files.replay))
                           : plan_without(request, files.replay_failure, notes);
  return service_of(request, std::move(snapshot), std::move(plan));
}

Result<Service> Snapshots::open_pin(const VmPin& pin, std::vector<std::string>& notes) {
  return open_now(request_for(pin), notes);
}

Result<Service> Snapshots::find(const pager::VmRecord& record, std::vector<std::string>& notes) {
  return open_now(request_for(record), notes);
}

Result<Service> Snapshots::open_now(SnapshotRequest request, std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(std::optional<Service> service, find_open(request, notes));
  if (service) return std::move(*service);
  LAMINA_ASSIGN_OR_RETURN(SnapshotFiles files, read_files(request));
  return add(request, std::move(files), notes);
}

std::size_t Snapshots::open_count() const {
  return static_cast<std::size_t>(
      std::count_if(open_.begin(), open_.end(), [](const auto& one) { return !one.expired(); }));
}

std::shared_ptr<const Snapshot> Snapshots::keep(Snapshot snapshot) {
  forget_closed(open_);
  auto kept = std::make_shared<const Snapshot>(std::move(snapshot));
  open_.push_back(kept);
  return kept;
}

std::shared_ptr<const Snapshot> Snapshots::find_header(const os::FileFacts& header) const {
  for (const auto& one : open_) {
    auto snapshot = one.lock();
    if (snapshot && snapshot->header_facts().same_file(header)) return snapshot;
  }
  return nullptr;
}

std::shared_ptr<const Snapshot> Snapshots::find_named(const SnapshotRequest& request) const {
  std::shared_ptr<const Snapshot> found;
  for (const auto& one : open_) {
    auto snapshot = one.lock();
    if (snapshot && snapshot->path == request.path && is_of_pause(*snapshot, request)) {
      found = std::move(snapshot);
    }
  }
  return found;
}

Plan Snapshots::find_replay(const os::FileFacts& file, bool rest) const {
  for (const auto& one : replays_) {
    auto known = one.lock();
    if (known && known->plan.rest == rest && known->file.facts.same_file(file)) {
      return plan_of(std::move(known));
    }
  }
  return nullptr;
}

std::optional<Plan> Snapshots::find_plan(const SnapshotRequest& request, const Snapshot& snapshot,
                                         std::vector<std::string>& notes) const {
  if (request.populate == Populate::kNone) return Plan();
  os::Fd own;
  if (request.is_pinned) {
    auto directory = store::open_in_store(request.path);
    if (!directory) return plan_without(request, one_line(directory.error()), notes);
    own = std::move(*directory);
  }
  const auto file =
      open_working_set(request, own.valid() ? own.get() : snapshot.opened.directory.get());
  if (!file) return plan_without(request, one_line(file.error()), notes);
  Plan known = find_replay(file->facts, request.populate == Populate::kAll);
  return known ? std::optional(std::move(known)) : std::nullopt;
}

Plan Snapshots::keep_replay(Replay replay) {
  if (Plan known = find_replay(replay.file.facts, replay.plan.rest)) return known;
  forget_closed(replays_);
  auto made = std::make_shared<const Replay>(std::move(replay));
  replays_.push_back(made);
  return plan_of(std::move(made));
}

pager::VmRecord Snapshots::in_its_place(const pager::VmRecord& record) const {
  pager::VmRecord placed = record;
  if (store_ == nullptr) return placed;
  const std::string in_store =
      fmt::format("/{}/{}/{}", store::kVmsArea, os::process_name(record.pid, record.start_time),
                  store::kPinBaseName);
  if (record.snapshot.ends_with(in_store)) placed.snapshot = store_->path() + in_store;
  return placed;
}

}  // namespace lamina::server
