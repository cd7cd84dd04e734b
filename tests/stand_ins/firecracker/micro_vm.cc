#include "stand_ins/firecracker/micro_vm.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"

namespace lamina::tests {
namespace {

constexpr int kExitByFailure = 1;

/// The page with the virtio queues: touched by a load, and dirty again after each create.
constexpr std::size_t kQueuePage = 0;

/// The page with the generation id of the VM, which a load stores before it does anything else.
constexpr std::size_t kGenerationPage = 0xdf;

std::vector<std::uint64_t> split(std::uint64_t bytes, std::size_t regions) {
  const std::uint64_t first = bytes / kGuestPageBytes / regions * kGuestPageBytes;
  if (regions == 1) return {bytes};
  return {first, bytes - first};
}

std::unexpected<Error> refused(const char* message) {
  return fail(ErrorKind::kFailed, "{}", message);
}

}  // namespace

MicroVm::MicroVm(VmOptions options, Failures& failures, Hold& hold)
    : options_(std::move(options)), failures_(failures), hold_(hold), random_(options_.seed) {
  facts_.guest_id = options_.id;
  facts_.vcpus = options_.vcpus;
  facts_.memory_mib = options_.memory_mib;
  facts_.hotplug_mib = options_.hotplug_mib;
  facts_.plugged_mib = options_.plugged_mib;
  facts_.huge_pages = options_.huge_pages;
  facts_.networks = options_.networks;
  facts_.has_vsock = options_.has_vsock;
  facts_.has_queues = options_.has_queues;
}

std::uint64_t MicroVm::memory_mib() const { return facts_.memory_mib; }

bool MicroVm::tracks_dirty_pages() const { return guest() != nullptr && guest_->is_tracked(); }

void MicroVm::begin(GuestMapping mapping, PageModel model, DirtyTracking tracking) {
  guest_ = std::make_unique<Guest>(std::move(mapping), std::move(model), tracking);
  start_writers(options_.writers, *guest_, random_, gate_, options_.balloon);
  if (facts_.has_queues) guest_->mark_dirty(kQueuePage);
  state_ = RunState::kPaused;
}

Status MicroVm::start() {
  facts_.region_bytes = split(options_.memory_mib << 20, options_.regions);
  if (options_.hotplug_mib > 0) facts_.region_bytes.push_back(options_.hotplug_mib << 20);
  LAMINA_ASSIGN_OR_RETURN(GuestMapping mapping,
                          GuestMapping::fresh(facts_.region_bytes, options_.huge_pages == "2M"));
  const std::uint64_t unplugged = (options_.hotplug_mib - options_.plugged_mib) << 20;
  const std::size_t pages = mapping.pages() - unplugged / kGuestPageBytes;
  PageModel model = options_.checked ? PageModel(pages) : PageModel::without_record(pages);
  begin(std::move(mapping), std::move(model), {options_.track_dirty_pages, false});
  return resume();
}

Status MicroVm::pause() {
  if (failures_.hits("pause-refuse")) return refused("Failed to pause: as asked for");
  gate_.close();
  state_ = RunState::kPaused;
  return {};
}

Status MicroVm::resume() {
  if (failures_.hits("resume-die")) ::_exit(kExitByFailure);
  if (failures_.hits("resume-refuse")) return refused("Failed to resume: as asked for");
  state_ = RunState::kRunning;
  gate_.open();
  return {};
}

Result<CreateAnswer> MicroVm::create(const CreateRequest& request) {
  if (state() != RunState::kPaused) {
    return refused(
        "Cannot save the microVM state: Operation not allowed: save/restore unavailable while "
        "running");
  }
  if (failures_.hits("create-slow")) hold_.wait();
  if (failures_.hits("create-die-before")) ::_exit(kExitByFailure);
  if (failures_.hits("create-refuse")) return refused("Cannot get dirty bitmap: as asked for");
  // The state first, as Firecracker does.
  if (options_.discards) guest_->remember_pages();
  VmState saved = facts_;
  saved.creates += 1;
  saved.random = random_.state();
  saved.pages = guest_->model();
  LAMINA_RETURN_IF_ERROR(write_state_file(request.state_path, saved));
  const Disk disk = failures_.hits("create-enospc") ? Disk::kFull : Disk::kReal;
  LAMINA_RETURN_IF_ERROR(write_memory_file(request.memory_path, request.kind, *guest_, disk));
  facts_.creates = saved.creates;
  if (failures_.hits("create-die-after-dump")) ::_exit(kExitByFailure);
  if (failures_.hits("create-after-dump")) {
    return refused("Cannot perform sync_all on the memory backing file: as asked for");
  }
  if (facts_.has_queues) guest_->mark_dirty(kQueuePage);
  if (failures_.hits("create-hang")) hold_.wait();
  return failures_.hits("create-no-answer") ? CreateAnswer::kNone : CreateAnswer::kDone;
}

Status MicroVm::check_devices(const LoadRequest& request, const VmState& vm_state) {
  for (const std::string& id : request.networks) {
    if (std::find(vm_state.networks.begin(), vm_state.networks.end(), id) ==
        vm_state.networks.end()) {
      return refused("Failed to get snapshot state from file: Unknown Network Device.");
    }
  }
  if (request.has_vsock_override && !vm_state.has_vsock) {
    return refused("Failed to get snapshot state from file: Unknown Vsock Device.");
  }
  return {};
}

Result<GuestMapping> MicroVm::map(const LoadRequest& request, const VmState& vm_state) {
  const bool huge_pages = vm_state.huge_pages == "2M";
  if (huge_pages && !request.from_page_server) {
    return refused(
        "Failed to load guest memory: Error creating guest memory from file: Cannot restore "
        "hugetlbfs backed snapshot by mapping the memory file. Please use uffd.");
  }
  auto mapping = request.from_page_server
                     ? GuestMapping::from_page_server(request.memory_path, vm_state.region_bytes,
                                                      huge_pages, std::move(userfaultfd_))
                     : GuestMapping::from_file(request.memory_path, vm_state.region_bytes);
  userfaultfd_.reset();
  if (!mapping)
    return std::unexpected(with_context("Failed to load guest memory", mapping.error()));
  return mapping;
}

Status MicroVm::load(const LoadRequest& request) {
  if (failures_.hits("load-die")) ::_exit(kExitByFailure);
  if (failures_.hits("load-slow")) hold_.wait();
  if (failures_.hits("load-refuse"))
    return refused("Failed to restore from snapshot: as asked for");
  auto loaded = read_state_file(request.state_path);
  if (loaded) {
    if (request.huge_pages != "Snapshot") loaded->huge_pages = request.huge_pages;
    if (const Status known = check_devices(request, *loaded); !known) {
      loaded = std::unexpected(known.error());
    }
  }
  auto mapping = loaded ? map(request, *loaded) : std::unexpected(loaded.error());
  if (!mapping) {
    return std::unexpected(with_context("Failed to restore from snapshot", mapping.error()));
  }
  PageModel model = std::move(loaded->pages);
  facts_ = std::move(*loaded);
  random_.set(facts_.random);
  const bool reads_are_dirty = request.from_page_server && options_.reads_are_dirty;
  begin(std::move(*mapping), std::move(model), {request.track_dirty_pages, reads_are_dirty});
  // As the real one: the first that happens to the memory is a store.
  const std::size_t generation_page = std::min(kGenerationPage, guest_->pages() - 1);
  if (options_.new_generation) {
    guest_->write(generation_page, random_.next_seed());
  } else {
    guest_->store_again(generation_page);
  }
  // Restoring the devices reads the queues.
  guest_->read(kQueuePage);
  if (request.resume) return resume();
  return {};
}

}  // namespace lamina::tests
