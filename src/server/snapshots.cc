#include "server/snapshots.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "format/working_set.h"
#include "os/directory.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "store/areas.h"
#include "store/store.h"

namespace lamina::server {

/// A working set that is replayed. Its file is kept open, like a snapshot's header.
struct Snapshots::Replay {
  pager::PopulatePlan plan;
  os::OpenedFile file;
};

namespace {

Result<Snapshot> load(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot opened, store::open_snapshot(path));
  LAMINA_ASSIGN_OR_RETURN(
      os::OpenedFile header,
      os::open_regular(opened.directory.get(), store::kHeaderName, O_RDONLY, path));
  return Snapshot{path, std::move(opened), std::move(header.fd), header.facts};
}

template <typename T>
void forget_closed(std::vector<std::weak_ptr<T>>& list) {
  std::erase_if(list, [](const std::weak_ptr<T>& one) { return one.expired(); });
}

bool fits(const Snapshot& snapshot, const pager::VmRecord& record) {
  return snapshot.opened.pause_id == record.pause_id &&
         snapshot.opened.header.memory_bytes == record.memory_bytes;
}

}  // namespace

std::shared_ptr<const Snapshot> Snapshots::keep(Snapshot snapshot) {
  forget_closed(open_);
  auto kept = std::make_shared<const Snapshot>(std::move(snapshot));
  open_.push_back(kept);
  return kept;
}

std::shared_ptr<const Snapshot> Snapshots::find_open(const os::FileFacts& header) const {
  for (const auto& one : open_) {
    auto snapshot = one.lock();
    if (snapshot && snapshot->header_facts.same_file(header)) return snapshot;
  }
  return nullptr;
}

std::size_t Snapshots::open_count() const {
  return static_cast<std::size_t>(
      std::count_if(open_.begin(), open_.end(), [](const auto& one) { return !one.expired(); }));
}

Result<Service> Snapshots::open(const std::string& path, std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(const std::string absolute, os::real_path(path));
  LAMINA_ASSIGN_OR_RETURN(Snapshot loaded, load(absolute));
  Service service;
  service.snapshot = keep(std::move(loaded));
  service.path = absolute;
  service.plan = plan_for(path, service.snapshot->opened.directory.get(),
                          service.snapshot->opened.header.memory_bytes, populate_, notes);
  service.recorded_to = absolute;
  service.record = record_;
  named_.push_back(service);
  return service;
}

Result<std::shared_ptr<const Snapshot>> Snapshots::share(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, store::open_in_store(path));
  const auto header = os::open_regular(directory.get(), store::kHeaderName, O_RDONLY, path);
  // (What is replaced at this very moment may have no header any more, and is opened below.)
  if (header) {
    if (auto found = find_open(header->facts)) return found;
  }
  LAMINA_ASSIGN_OR_RETURN(Snapshot loaded, load(path));
  // It may have been exchanged between the two looks, for one that is open.
  if (auto found = find_open(loaded.header_facts)) return found;
  return keep(std::move(loaded));
}

Result<Service> Snapshots::open_pin(const VmPin& pin, std::vector<std::string>& notes) {
  Service service;
  service.path = pin.base;
  LAMINA_ASSIGN_OR_RETURN(service.snapshot, share(pin.base));
  service.recorded_to = pin.snapshot_path();
  service.record = pin.facts ? pin.facts->record.value_or(record_) : record_;
  const Populate populate = pin.facts ? pin.facts->populate.value_or(populate_) : populate_;
  // Of the pin itself: another fork of the snapshot may have been resumed before it was recorded.
  const auto directory = store::open_in_store(pin.base);
  if (directory) {
    service.plan = plan_for(pin.base, directory->get(),
                            service.snapshot->opened.header.memory_bytes, populate, notes);
  }
  return service;
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

Result<Service> Snapshots::find(const pager::VmRecord& recorded, std::vector<std::string>& notes) {
  const pager::VmRecord record = in_its_place(recorded);
  const auto pin = pin_of_record(record);
  if (!pin) return find_named(record, notes);
  LAMINA_ASSIGN_OR_RETURN(Service service, open_pin(*pin, notes));
  const std::uint64_t memory_bytes = service.snapshot->opened.header.memory_bytes;
  if (memory_bytes == record.memory_bytes) return service;
  return fail(ErrorKind::kCorrupt, "'{}' has {} bytes of memory, its VM {}", pin->base,
              memory_bytes, record.memory_bytes);
}

Result<Service> Snapshots::find_named(const pager::VmRecord& record,
                                      std::vector<std::string>& notes) {
  for (const Service& service : named_) {
    if (service.path == record.snapshot && fits(*service.snapshot, record)) return service;
  }
  Service service;
  for (const auto& one : open_) {
    auto snapshot = one.lock();
    if (snapshot && snapshot->path == record.snapshot && fits(*snapshot, record)) {
      service.snapshot = std::move(snapshot);
    }
  }
  if (!service.snapshot) {
    LAMINA_ASSIGN_OR_RETURN(Snapshot loaded, load(record.snapshot));
    if (!fits(loaded, record)) {
      return fail(ErrorKind::kFailed,
                  "'{}' is another pause now than {}, which it was resumed from", record.snapshot,
                  record.pause_id.to_string());
    }
    service.snapshot = keep(std::move(loaded));
  }
  service.path = record.snapshot;
  service.plan = plan_for(record.snapshot, service.snapshot->opened.directory.get(),
                          record.memory_bytes, populate_, notes);
  service.recorded_to = record.snapshot;
  service.record = record_;
  return service;
}

std::shared_ptr<const pager::PopulatePlan> Snapshots::plan_for(const std::string& path,
                                                               int directory,
                                                               std::uint64_t memory_bytes,
                                                               Populate populate,
                                                               std::vector<std::string>& notes) {
  static const auto everything =
      std::make_shared<const pager::PopulatePlan>(pager::PopulatePlan{{}, true});
  if (populate == Populate::kNone) return nullptr;
  auto plan = replay(path, directory, memory_bytes, populate == Populate::kAll);
  if (plan) return *plan;
  if (populate == Populate::kAll) return everything;
  notes.push_back(fmt::format("'{}' has no working set to replay: {}", path, plan.error().message));
  return nullptr;
}

Result<std::shared_ptr<const pager::PopulatePlan>> Snapshots::replay(const std::string& path,
                                                                     int directory,
                                                                     std::uint64_t memory_bytes,
                                                                     bool rest) {
  const std::string file_path = fmt::format("{}/{}", path, store::kWorkingSetName);
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile file,
                          os::open_regular(directory, store::kWorkingSetName, O_RDONLY, file_path));
  const auto plan_of = [](std::shared_ptr<const Replay> replay) {
    const pager::PopulatePlan* plan = &replay->plan;
    return std::shared_ptr<const pager::PopulatePlan>(std::move(replay), plan);
  };
  for (const auto& one : replays_) {
    auto known = one.lock();
    if (known && known->plan.rest == rest && known->file.facts.same_file(file.facts)) {
      return plan_of(std::move(known));
    }
  }
  LAMINA_ASSIGN_OR_RETURN(
      const std::vector<std::byte> bytes,
      os::read_whole(file.fd.get(), format::max_working_set_bytes(), file_path));
  auto decoded = format::decode_working_set(bytes);
  if (!decoded) return std::unexpected(with_context(file_path, decoded.error()));
  if (decoded->memory_bytes != memory_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' is of {} bytes of memory, the snapshot of {}", file_path,
                decoded->memory_bytes, memory_bytes);
  }
  forget_closed(replays_);
  auto made =
      std::make_shared<const Replay>(Replay{{std::move(decoded->runs), rest}, std::move(file)});
  replays_.push_back(made);
  return plan_of(std::move(made));
}

}  // namespace lamina::server
