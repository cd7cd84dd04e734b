#include "stand_ins/cloud_hypervisor/machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/error.h"
#include "stand_ins/guest_region.h"
#include "stand_ins/sockets.h"

namespace lamina::cloud_hypervisor_stand_in {
namespace {

constexpr std::uint64_t kGapEnd = std::uint64_t{4} << 30;
constexpr int kExitByFailure = 1;

const Json& cpuid() {
  static const Json known = Json::array({{{"function", 1}, {"eax", 0x806ec}}});
  return known;
}

std::unexpected<Error> refused(const std::string& message) {
  return fail(ErrorKind::kFailed, "{}", message);
}

Json to_json(const Range& range) {
  return {{"slot", range.slot},    {"gpa", range.gpa},    {"size", range.size},
          {"zone_id", range.zone}, {"virtio_mem", false}, {"file_offset", range.file_offset}};
}

/// As serde reads it: all fields must be there.
Range range_from(const Json& json) {
  return {json.at("slot").get<std::uint32_t>(), json.at("gpa").get<std::uint64_t>(),
          json.at("size").get<std::uint64_t>(), json.at("file_offset").get<std::uint64_t>(),
          json.at("zone_id").get<std::string>()};
}

Json memory_manager_data(const std::vector<MappedRange>& ranges) {
  Json mappings = Json::array();
  Json table = Json::array();
  for (const MappedRange& mapped : ranges) {
    // In another order than that of the addresses, as a hash table has it.
    mappings.insert(mappings.begin(), to_json(mapped.range));
    table.push_back({{"gpa", mapped.range.gpa}, {"length", mapped.range.size}});
  }
  return {{"memory_ranges", {{"data", table}}},
          {"guest_ram_mappings", mappings},
          {"start_of_device_area", std::uint64_t{1} << 38},
          {"boot_ram", 0},
          {"current_ram", 0},
          {"arch_mem_regions", Json::array()},
          {"hotplug_slots", Json::array()},
          {"next_memory_slot", ranges.size()},
          {"selected_slot", 0},
          {"next_hotplug_slot", 0}};
}

Json component(const Json& data) {
  return {{"snapshots", Json::object()}, {"snapshot_data", {{"state", data.dump()}}}};
}

/// Reads exactly so many bytes; false at the end.
bool read_all(int socket, char* bytes, std::size_t count, os::Fd* descriptor) {
  while (count > 0) {
    iovec vector{bytes, count};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    const cmsghdr* rights = CMSG_FIRSTHDR(&message);
    if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS && descriptor != nullptr) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(rights), sizeof(number));
      *descriptor = os::Fd(number);
    }
    bytes += got;
    count -= static_cast<std::size_t>(got);
  }
  return true;
}

/// 16 bytes: u16, u16, 4 bytes of zeros, u64.
std::string header(std::uint16_t first, std::uint16_t second, std::uint64_t length) {
  std::string bytes(16, '\0');
  std::memcpy(bytes.data(), &first, sizeof(first));
  std::memcpy(bytes.data() + 2, &second, sizeof(second));
  std::memcpy(bytes.data() + 8, &length, sizeof(length));
  return bytes;
}

bool read_message(int socket, Message& message) {
  constexpr std::uint64_t kMaxPayload = std::uint64_t{64} << 20;
  std::array<char, 16> bytes{};
  message = {};
  // A descriptor that comes with the header is lost, as in release 53.
  os::Fd lost;
  if (!read_all(socket, bytes.data(), bytes.size(), &lost)) return false;
  std::uint64_t length = 0;
  std::memcpy(&message.command, bytes.data(), sizeof(message.command));
  std::memcpy(&message.version, bytes.data() + 2, sizeof(message.version));
  std::memcpy(&length, bytes.data() + 8, sizeof(length));
  const bool has_zeros =
      std::all_of(bytes.begin() + 4, bytes.begin() + 8, [](char c) { return c == 0; });
  if (!has_zeros || length > kMaxPayload) return false;
  message.payload.resize(length);
  return read_all(socket, message.payload.data(), length, &message.descriptor);
}

bool answer(int socket, bool is_ok) { return tests::send_all(socket, header(is_ok ? 1 : 2, 0, 0)); }

/// Invalid if it cannot be made.
os::Fd memfd_of(std::uint64_t bytes, bool is_huge) {
  os::Fd file(::memfd_create("ch_ram", MFD_CLOEXEC | (is_huge ? MFD_HUGETLB : 0U)));
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) file.reset();
  return file;
}

enum Command : std::uint16_t {
  kStart = 1,
  kConfig = 2,
  kState = 3,
  kComplete = 5,
  kMemoryFd = 7,
  kCompletePaused = 8
};

}  // namespace

bool Points::arm(const std::string& point) {
  static const std::vector<std::string> known = {
      "send-refuse",         "send-no-connect",        "send-version",
      "send-unknown",        "send-cut-config",        "send-cut-state",
      "send-die-config",     "send-die-state",         "send-die-complete",
      "send-hang-config",    "send-hang-state",        "send-hang-complete",
      "send-short-memfd",    "send-no-descriptor",     "send-twice",
      "send-out-of-turn",    "send-other-size",        "send-no-exit",
      "receive-refuse",      "receive-error-start",    "receive-error-config",
      "receive-error-state", "receive-error-complete", "receive-die-config",
      "receive-die-state",   "receive-die-complete",   "receive-shares",
      "receive-copies",      "receive-error-memory",   "receive-die-memory",
      "receive-hang-memory", "receive-hang-config",    "receive-hang-complete",
      "receive-own-memory",  "receive-maps-privately", "receive-hang-state",
      "pause-refuse",        "resume-refuse",          "receive-late"};
  if (std::find(known.begin(), known.end(), point) == known.end()) return false;
  const std::lock_guard lock(mutex_);
  armed_.push_back(point);
  return true;
}

bool Points::hits(const std::string& point) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(armed_.begin(), armed_.end(), point);
  if (found == armed_.end()) return false;
  armed_.erase(found);
  return true;
}

void Points::hold(const std::string& point) {
  if (!hits(point)) return;
  std::unique_lock lock(mutex_);
  held_ = true;
  changed_.wait(lock, [&] { return !held_; });
}

bool Points::release() {
  const std::lock_guard lock(mutex_);
  const bool was_held = held_;
  held_ = false;
  changed_.notify_all();
  return was_held;
}

bool Points::is_held() {
  const std::lock_guard lock(mutex_);
  return held_;
}

Status Machine::boot(const BootOptions& options) {
  const std::uint64_t bytes = options.memory_mib << 20;
  std::vector<Range> ranges = {{0, 0, bytes, 0, "mem0"}};
  if (options.has_gap) {
    ranges.front().size = bytes / 2;
    const bool is_one_file = !options.zone_file.empty();
    ranges.push_back({1, kGapEnd, bytes / 2, is_one_file ? bytes / 2 : 0, "mem0"});
  }
  Json zones = nullptr;
  if (!options.zone_file.empty()) {
    zones = Json::array(
        {{{"id", "mem0"}, {"size", bytes}, {"file", options.zone_file}, {"shared", false}}});
  }
  config_ = {{"cpus", {{"boot_vcpus", 1}, {"max_vcpus", 1}}},
             {"memory",
              {{"size", zones.is_null() ? bytes : 0},
               {"mergeable", false},
               {"hotplug_method", "Acpi"},
               {"hotplug_size", nullptr},
               {"hotplugged_size", nullptr},
               {"shared", options.is_shared},
               {"hugepages", options.has_huge_pages},
               {"hugepage_size", nullptr},
               {"prefault", false},
               {"zones", zones},
               {"thp", true}}},
             {"disks", nullptr},
             {"net", nullptr},
             {"serial", {{"file", options.serial_file}, {"mode", "File"}}},
             {"console", {{"file", nullptr}, {"mode", "Off"}}},
             {"vsock", nullptr}};
  if (!options.disk.empty()) {
    config_["disks"] =
        Json::array({{{"id", "_disk0"}, {"path", options.disk}, {"readonly", false}}});
  }
  if (!options.vsock.empty()) config_["vsock"] = {{"cid", 3}, {"socket", options.vsock}};
  LAMINA_RETURN_IF_ERROR(open_devices());
  if (!options.network.empty()) {
    config_["net"] = Json::array({{{"id", options.network}, {"tap", "tap0"}}});
  }
  std::vector<MappedRange> mapped;
  for (const Range& range : ranges) {
    os::Fd file;
    Backing backing = Backing::kAnonymous;
    if (!options.zone_file.empty()) {
      backing = Backing::kPrivateFile;
      file = os::Fd(::open(options.zone_file.c_str(), O_RDONLY | O_CLOEXEC));
    } else if (options.is_shared || options.has_huge_pages) {
      // Huge pages are shared in any case.
      backing = Backing::kMemfd;
      file = memfd_of(range.size, options.has_huge_pages);
    }
    if (backing != Backing::kAnonymous && !file.valid()) {
      return refused("Cannot open or make the memory's file");
    }
    LAMINA_ASSIGN_OR_RETURN(MappedRange one, map_range(range, backing, std::move(file)));
    mapped.push_back(std::move(one));
  }
  const std::size_t pages = bytes / tests::kGuestPageBytes;
  guest_ = std::make_unique<Guest>(
      std::move(mapped),
      options.is_checked ? tests::PageModel(pages) : tests::PageModel::without_record(pages));
  thaw();
  return {};
}

void Machine::start_writer(bool discards) {
  std::thread([this, discards] {
    std::uint64_t random = 7;
    while (true) {
      if (!while_running([&] { guest_->operate(random, discards); })) std::this_thread::yield();
    }
  }).detach();
}

void Machine::freeze() {
  const std::unique_lock lock(running_);
  state_ = State::kPaused;
}

void Machine::thaw() {
  const std::unique_lock lock(running_);
  state_ = State::kRunning;
}

Result<Json> Machine::info() {
  if (state_ == State::kNone) return refused("VM is not created");
  std::uint64_t bytes = 0;
  for (const MappedRange& mapped : guest_->ranges()) bytes += mapped.range.size;
  return Json{{"config", config_},
              {"state", state_ == State::kRunning ? "Running" : "Paused"},
              {"memory_actual_size", bytes},
              {"device_tree", Json::object()}};
}

Status Machine::pause() {
  if (state_ == State::kNone) return refused("VM is not created");
  if (is_migrating_) return refused("Operation not allowed during a migration");
  if (points_.hits("pause-refuse")) return refused("Cannot pause VM");
  if (state_ != State::kRunning) return refused("Invalid VM state transition");
  freeze();
  return {};
}

Status Machine::resume() {
  if (state_ == State::kNone) return refused("VM is not created");
  if (is_migrating_) return refused("Operation not allowed during a migration");
  if (points_.hits("resume-refuse")) return refused("Cannot resume VM");
  if (state_ != State::kPaused) return refused("Invalid VM state transition");
  thaw();
  return {};
}

Status Machine::send_migration(const std::string& socket_path) {
  if (state_ == State::kNone) return refused("VM is not running");
  if (points_.hits("send-refuse")) return refused("Error from API");
  if (is_migrating_.exchange(true)) return refused("A migration is under way");
  std::thread([this, socket_path] {
    os::Fd socket;
    if (!points_.hits("send-no-connect")) socket = os::Fd(tests::connect_to(socket_path));
    if (socket.valid()) hand_over(std::move(socket));
    is_migrating_ = false;
  }).detach();
  return {};
}

bool Machine::is_answered(int socket) {
  std::array<char, 16> bytes{};
  if (!read_all(socket, bytes.data(), bytes.size(), nullptr)) return false;
  std::uint16_t status = 0;
  std::memcpy(&status, bytes.data(), sizeof(status));
  return status == 1 && std::all_of(bytes.begin() + 2, bytes.end(), [](char c) { return c == 0; });
}

bool Machine::send(int socket, std::uint16_t command, const std::string& payload, int descriptor) {
  std::uint16_t version = 0;
  if (command == kStart && points_.hits("send-version")) version = 1;
  const bool is_cut = (command == kConfig && points_.hits("send-cut-config")) ||
                      (command == kState && points_.hits("send-cut-state"));
  const std::string head = header(command, version, payload.size());
  if (!tests::send_all(socket, head)) return false;
  if (is_cut) {
    tests::send_all(socket, payload.substr(0, payload.size() / 2));
    return false;
  }
  const bool is_sent = descriptor >= 0
                           ? tests::send_with_descriptors(socket, payload, {&descriptor, 1})
                           : tests::send_all(socket, payload);
  return is_sent && is_answered(socket);
}

std::string Machine::config_message() const {
  Json json = {{"vm_config", config_},
               {"common_cpuid", cpuid()},
               {"memory_manager_data", memory_manager_data(guest_->ranges())}};
  return json.dump();
}

std::string Machine::state_message() {
  guest_->remember_pages();
  const Json vm = {{"clock", nullptr}, {"common_cpuid", cpuid()}};
  const Json devices = {{"random", random_}, {"pages", guest_->encode_model()}};
  const Json json = {{"snapshots",
                      {{"cpu-manager", component(Json::object())},
                       {"device-manager", component(devices)},
                       {"memory-manager", component(memory_manager_data(guest_->ranges()))}}},
                     {"snapshot_data", {{"state", vm.dump()}}}};
  return json.dump();
}

bool Machine::send_memory(int socket) {
  for (const MappedRange& mapped : guest_->ranges()) {
    // What release 53 does with private anonymous memory.
    if (mapped.backing == Backing::kAnonymous) std::abort();
    if (mapped.backing == Backing::kPrivateFile) continue;
    std::string slot(sizeof(std::uint32_t), '\0');
    std::memcpy(slot.data(), &mapped.range.slot, slot.size());
    if (points_.hits("send-no-descriptor")) return send(socket, kMemoryFd, slot);
    os::Fd other;
    if (points_.hits("send-short-memfd")) other = os::Fd(::memfd_create("short", MFD_CLOEXEC));
    const int fd = other.valid() ? other.get() : mapped.file.get();
    if (!send(socket, kMemoryFd, slot, fd)) return false;
    if (points_.hits("send-twice") && !send(socket, kMemoryFd, slot, fd)) return false;
  }
  return true;
}

bool Machine::send_config(int socket) {
  reach("send", "config");
  std::string config = config_message();
  if (points_.hits("send-other-size")) {
    Json json = Json::parse(config);
    Json& mapping = json["memory_manager_data"]["guest_ram_mappings"][0];
    mapping["size"] = mapping["size"].get<std::uint64_t>() / 2;
    config = json.dump();
  }
  return send(socket, kConfig, config);
}

/// All messages of the source, in order.
bool Machine::send_all(int socket, bool was_running) {
  if (points_.hits("send-unknown")) return send(socket, 17, "");
  if (points_.hits("send-out-of-turn")) return send(socket, kState, "{}");
  if (!send(socket, kStart, "") || !send_memory(socket) || !send_config(socket)) return false;
  if (was_running) freeze();
  reach("send", "state");
  if (!send(socket, kState, state_message())) return false;
  reach("send", "complete");
  return send(socket, was_running ? kComplete : kCompletePaused, "");
}

void Machine::reach(const std::string& side, const std::string& message) {
  points_.hold(side + "-hang-" + message);
  if (points_.hits(side + "-die-" + message)) ::_exit(kExitByFailure);
}

/// The source's side. Whatever is not an Ok ends it, and the VM goes on as it was.
void Machine::hand_over(os::Fd socket) {
  const bool was_running = state_ == State::kRunning;
  if (send_all(socket.get(), was_running) && !points_.hits("send-no-exit")) ::_exit(0);
  socket.reset();
  if (was_running) thaw();
}

Status Machine::receive_migration(const std::string& socket_path) {
  if (state_ != State::kNone) return refused("VM is already created");
  if (points_.hits("receive-refuse")) return refused("Error from API");
  // Later than a sender with a limit of a second waits.
  if (points_.hits("receive-late")) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  const os::Fd listening(tests::listen_at(socket_path));
  if (!listening.valid()) return refused("Error binding to UNIX socket: Address already in use");
  const os::Fd socket(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket.valid()) return refused("Error accepting on UNIX socket");
  try {
    const Status received = receive_on(socket.get());
    if (!received && state_ == State::kNone) received_.clear();
    return received;
  } catch (const Json::exception& error) {
    answer(socket.get(), false);
    received_.clear();
    return refused(fmt::format("Error deserialising: {}", error.what()));
  }
}

Status Machine::take_memory(std::uint16_t last, Message& message, std::vector<Message>& memory) {
  if ((last != kStart && last != kMemoryFd) || message.payload.size() != 4 ||
      !message.descriptor.valid()) {
    return refused("Invalid MemoryFd");
  }
  reach("receive", "memory");
  if (points_.hits("receive-error-memory")) return refused("as asked for");
  memory.push_back(std::move(message));
  return {};
}

Status Machine::take_config(std::uint16_t last, const Message& message,
                            std::vector<Message>& memory) {
  if (last != kStart && last != kMemoryFd) return refused("Invalid Config");
  reach("receive", "config");
  if (points_.hits("receive-error-config")) return refused("as asked for");
  return configure(Json::parse(message.payload), memory);
}

Status Machine::take_state(std::uint16_t last, const Message& message) {
  if (last != kConfig) return refused("Invalid State");
  reach("receive", "state");
  if (points_.hits("receive-error-state")) return refused("as asked for");
  LAMINA_RETURN_IF_ERROR(restore(message.payload));
  state_ = State::kPaused;
  return {};
}

/// One message; an error is answered and ends it.
Status Machine::take(std::uint16_t last, Message& message, std::vector<Message>& memory) {
  switch (message.command) {
    case kStart:
      if (last != 0 || message.version != 0 || !message.payload.empty()) {
        return refused("Invalid Start");
      }
      return points_.hits("receive-error-start") ? refused("as asked for") : Status();
    case kMemoryFd:
      return take_memory(last, message, memory);
    case kConfig:
      return take_config(last, message, memory);
    case kState:
      return take_state(last, message);
    case kComplete:
    case kCompletePaused:
      if (last != kState || !message.payload.empty()) return refused("Invalid Complete");
      reach("receive", "complete");
      return points_.hits("receive-error-complete") ? refused("as asked for") : Status();
    default:
      return refused("unknown command");
  }
}

/// The destination's side.
Status Machine::receive_on(int socket) {
  std::vector<Message> memory;
  std::uint16_t last = 0;
  Message message;
  while (read_message(socket, message)) {
    const std::uint16_t command = message.command;
    const Status taken = take(last, message, memory);
    if (!taken) {
      answer(socket, false);
      return taken;
    }
    last = command;
    if (last == kComplete) thaw();
    const bool is_told = answer(socket, true);
    if (last == kComplete || last == kCompletePaused) return {};
    if (!is_told) return refused("Socket error");
  }
  return refused("Socket error: the sender is gone");
}

Status Machine::snapshot(const std::string& directory) {
  if (state_ != State::kPaused) return refused("VM is not paused");
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(directory + "/" + name, std::ios::binary) << text;
  };
  write("config.json", config_.dump());
  write("state.json", state_message());
  return guest_->dump(directory + "/memory-ranges");
}

Status Machine::restore_from(const std::string& directory) {
  if (state_ != State::kNone) return refused("VM is already created");
  const auto read = [&](const char* name) {
    std::ifstream file(directory + "/" + name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string state_text = read("state.json");
  try {
    const Json state = Json::parse(state_text);
    const auto data = [](const Json& of) {
      return Json::parse(of.at("snapshot_data").at("state").get<std::string>());
    };
    const Json memory_manager = data(state.at("snapshots").at("memory-manager"));
    const Json migration = {{"vm_config", Json::parse(read("config.json"))},
                            {"common_cpuid", data(state).at("common_cpuid")},
                            {"memory_manager_data", memory_manager}};
    std::vector<Message> none;
    LAMINA_RETURN_IF_ERROR(configure(migration, none));
    std::ifstream ranges(directory + "/memory-ranges", std::ios::binary);
    for (const Json& range : memory_manager.at("memory_ranges").at("data")) {
      for (const MappedRange& mapped : received_) {
        if (mapped.range.gpa != range.at("gpa").get<std::uint64_t>()) continue;
        ranges.read(reinterpret_cast<char*>(mapped.memory.get()),
                    static_cast<std::streamsize>(range.at("length").get<std::uint64_t>()));
      }
    }
    if (!ranges) return refused("memory-ranges is too short");
    LAMINA_RETURN_IF_ERROR(restore(state_text));
  } catch (const Json::exception& error) {
    return refused(fmt::format("Error deserialising: {}", error.what()));
  }
  state_ = State::kPaused;
  return {};
}

Result<Machine::Source> Machine::zone_source(const Json& zone, std::uint64_t bytes) {
  Source source;
  const bool is_shared = zone.at("shared").get<bool>();
  const bool is_huge = zone.value("hugepages", false);
  if (!zone.at("file").is_string()) {
    if (!is_shared && !is_huge) return source;
    source = {Backing::kMemfd, memfd_of(bytes, is_huge)};
    if (!source.file.valid()) return refused("memfd");
    return source;
  }
  // Read-only, so that a balloon cannot punch holes into a file that others map.
  const bool is_private = !is_shared && !points_.hits("receive-shares");
  source.backing = is_private ? Backing::kPrivateFile : Backing::kSharedFile;
  source.file = os::Fd(::open(zone.at("file").get<std::string>().c_str(),
                              (is_private ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!source.file.valid()) return refused("Cannot open the backing file of a memory zone");
  if (is_private && points_.hits("receive-copies")) return Source{};
  return source;
}

/// Where the memory of a range comes from: a message, a zone's file, or a new memfd.
Result<Machine::Source> Machine::source_of(const Range& range, const Json& memory_config,
                                           std::vector<Message>& memory) {
  const Json& zones = memory_config.at("zones");
  Source source;
  for (Message& message : memory) {
    std::uint32_t slot = 0;
    std::memcpy(&slot, message.payload.data(), sizeof(slot));
    if (slot == range.slot) source = {Backing::kMemfd, std::move(message.descriptor)};
  }
  if (source.file.valid()) return source;
  if (!zones.is_null()) {
    for (const Json& zone : zones) {
      if (zone.at("id") == range.zone) return zone_source(zone, range.size);
    }
    return refused("Unknown memory zone");
  }
  const bool is_huge = memory_config.at("hugepages").get<bool>();
  if (!memory_config.at("shared").get<bool>() && !is_huge) return source;
  source = {Backing::kMemfd, memfd_of(range.size, is_huge)};
  if (!source.file.valid()) return refused("memfd");
  return source;
}

Status Machine::configure(const Json& json, std::vector<Message>& memory) {
  if (json.at("common_cpuid") != cpuid()) return refused("CPUID is incompatible");
  Json config = json.at("vm_config");
  const Json& memory_config = config.at("memory");
  if (!memory_config.at("zones").is_null() && memory_config.at("size").get<std::uint64_t>() != 0) {
    return refused("Memory size must be 0 when memory zones are used");
  }
  received_.clear();
  if (points_.hits("receive-own-memory")) memory.clear();
  const Backing sent =
      points_.hits("receive-maps-privately") ? Backing::kPrivateFile : Backing::kMemfd;
  for (const Json& mapping : json.at("memory_manager_data").at("guest_ram_mappings")) {
    Range range = range_from(mapping);
    LAMINA_ASSIGN_OR_RETURN(Source source, source_of(range, memory_config, memory));
    if (source.backing == Backing::kMemfd) source.backing = sent;
    // A memfd of its own has one range.
    if (source.backing == Backing::kMemfd && memory.empty()) range.file_offset = 0;
    LAMINA_ASSIGN_OR_RETURN(MappedRange mapped,
                            map_range(range, source.backing, std::move(source.file)));
    received_.push_back(std::move(mapped));
  }
  config_ = std::move(config);
  return {};
}

Status Machine::open_devices() {
  devices_.clear();
  const auto open = [&](const std::string& path, int flags) -> Status {
    devices_.emplace_back(::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0600));
    if (devices_.back().valid()) return {};
    return refused(fmt::format("Error opening '{}': {}", path, std::strerror(errno)));
  };
  const auto text = [](const Json& json, const char* name) {
    return json.contains(name) && json[name].is_string() ? json[name].get<std::string>() : "";
  };
  if (config_["disks"].is_array()) {
    for (const Json& disk : config_["disks"]) {
      LAMINA_RETURN_IF_ERROR(open(text(disk, "path"), 0));
    }
  }
  for (const char* name : {"serial", "console"}) {
    const std::string file = text(config_[name], "file");
    if (!file.empty()) LAMINA_RETURN_IF_ERROR(open(file, O_CREAT | O_TRUNC));
  }
  const std::string socket = config_["vsock"].is_object() ? text(config_["vsock"], "socket") : "";
  if (socket.empty()) return {};
  devices_.emplace_back(tests::listen_at(socket));
  if (devices_.back().valid()) return {};
  return refused("Error binding to UNIX socket: Address already in use");
}

Status Machine::restore(const std::string& payload) {
  LAMINA_RETURN_IF_ERROR(open_devices());
  const Json json = Json::parse(payload);
  const Json devices = Json::parse(
      json.at("snapshots").at("device-manager").at("snapshot_data").at("state").get<std::string>());
  std::uint64_t bytes = 0;
  for (const MappedRange& mapped : received_) bytes += mapped.range.size;
  auto model =
      Guest::decode_model(devices.at("pages").get<std::string>(), bytes / tests::kGuestPageBytes);
  if (!model) return refused("Error restoring the guest: " + model.error().message);
  guest_ = std::make_unique<Guest>(std::move(received_), std::move(*model));
  received_.clear();
  return {};
}

}  // namespace lamina::cloud_hypervisor_stand_in
