// A guest with a real processor: it runs on KVM, is paused into files as Firecracker pauses a
// microVM, and resumed through a page server or from a file.
//
//   run      runs without a pause and prints the checksum
//   start    runs from the beginning and pauses: state and Full memory file
//   resume   goes on from a state, and may pause again: state and Diff
//   log-cost runs with and without KVM's dirty log in turn, and prints the time of both
//
// With --discards it gives pages back while it runs, which a page server sees as REMOVE events.
//
// Every run is compared with the model of the payload (payload.h): registers, each page of the
// memory, and that no page is missing in KVM's dirty log.
//
// A restored guest's dirty log has more than what the guest wrote: where a page came by
// userfaultfd, KVM maps it writable as soon as it is read, and then it counts as dirty. Which pages
// were written is known from the model alone; both numbers are printed.
#include <fcntl.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/file.h"
#include "os/machine.h"
#include "payload.h"
#include "stand_ins/page_server_connection.h"
#include "virtual_cpu.h"

namespace lamina::tests {
namespace {

constexpr int kExitWrong = 1;
constexpr int kExitUsage = 2;

constexpr std::uint64_t kStateMagic = 0x7563762d616e696d;

/// What a state file holds; written and read by this program alone, on one machine.
struct StateFile {
  std::uint64_t magic = kStateMagic;
  std::uint64_t memory_bytes = 0;
  std::uint64_t steps_done = 0;
  CpuState cpu{};
};

/// The guest's memory: one mapping per region, unmapped at the end.
class GuestMemory {
 public:
  /// Anonymous memory, or with a file private mappings of it.
  static Result<GuestMemory> map(std::size_t memory_bytes, const std::optional<std::string>& file) {
    os::Fd fd;
    if (file) {
      LAMINA_ASSIGN_OR_RETURN(fd, os::open_at(AT_FDCWD, *file, O_RDONLY, *file));
    }
    GuestMemory memory;
    std::size_t offset = 0;
    for (const std::size_t bytes : region_bytes(memory_bytes)) {
      const int flags = MAP_PRIVATE | MAP_NORESERVE | (file ? 0 : MAP_ANONYMOUS);
      void* region = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd.get(),
                            static_cast<off_t>(offset));
      if (region == MAP_FAILED) return system_failure("mmap", file.value_or("memory"), errno);
      ::madvise(region, bytes, MADV_NOHUGEPAGE);  // the dirty log is to be of 4 KiB pages
      memory.regions_.emplace_back(static_cast<std::byte*>(region), bytes);
      offset += bytes;
    }
    return memory;
  }

  GuestMemory(GuestMemory&& other) noexcept : regions_(std::exchange(other.regions_, {})) {}
  GuestMemory& operator=(GuestMemory&&) = delete;
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  ~GuestMemory() {
    for (const std::span<std::byte> region : regions_) ::munmap(region.data(), region.size());
  }

  [[nodiscard]] std::span<const std::span<std::byte>> regions() const { return regions_; }

  /// As the handshake has them.
  [[nodiscard]] std::vector<GuestRegion> offered_regions() const {
    return {{regions_[0].data(), regions_[0].size(), 0},
            {regions_[1].data(), regions_[1].size(), regions_[0].size()}};
  }

  [[nodiscard]] std::size_t size_bytes() const { return regions_[0].size() + regions_[1].size(); }

  [[nodiscard]] std::span<std::byte> page(std::size_t index) const {
    const std::size_t offset = index * kPageBytes;
    const std::size_t first = regions_[0].size();
    return offset < first ? regions_[0].subspan(offset, kPageBytes)
                          : regions_[1].subspan(offset - first, kPageBytes);
  }

  [[nodiscard]] std::uint64_t checksum_with(const PayloadRegisters& registers) const {
    const std::array<std::span<const std::byte>, 2> parts{regions_[0], regions_[1]};
    return checksum(parts, registers);
  }

 private:
  GuestMemory() = default;

  std::vector<std::span<std::byte>> regions_;
};

struct Arguments {
  std::uint64_t steps = 0;
  std::size_t memory_mib = 64;
  std::size_t discards = 0;
  std::string state;
  std::string memory_file;
  std::optional<std::string> socket;
  std::optional<std::string> map;
  std::optional<std::string> state_out;
  std::optional<std::string> diff;
  bool touch_only_report = false;
  std::uint64_t intervals = 8;
  std::uint64_t rounds = 8;
};

/// What a run is found to have done.
struct Report {
  std::uint64_t steps_done = 0;
  std::size_t pages = 0;
  std::size_t dirty = 0;            ///< by KVM's log
  std::size_t written = 0;          ///< by the payload
  std::size_t changed = 0;          ///< of them, not what they were before
  std::size_t changed_to_data = 0;  ///< of these, not zeros now
  std::size_t only_read = 0;        ///< by the payload
  std::size_t dirty_only_read = 0;  ///< in the log without having been written
  std::size_t unlogged = 0;         ///< written, but not in the log: the diff would lose them
  std::size_t wrong_pages = 0;
  bool wrong_registers = false;
  std::optional<std::uint64_t> checksum;

  [[nodiscard]] bool right() const { return unlogged == 0 && wrong_pages == 0 && !wrong_registers; }
};

Status write_pages(const std::string& path, const GuestMemory& memory,
                   const std::vector<bool>& wanted) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                          os::open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, path));
  LAMINA_RETURN_IF_ERROR(os::truncate(file.get(), wanted.size() * kPageBytes, path));
  for (std::size_t page = 0; page < wanted.size(); ++page) {
    if (!wanted[page]) continue;
    LAMINA_RETURN_IF_ERROR(os::write_at(file.get(), memory.page(page), page * kPageBytes, path));
  }
  return os::sync(file.get(), path);
}

Status write_state(const std::string& path, const StateFile& state) {
  return os::write_new_file(AT_FDCWD, path, std::as_bytes(std::span(&state, 1)), path);
}

Result<StateFile> read_state(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file, os::open_at(AT_FDCWD, path, O_RDONLY, path));
  StateFile state;
  LAMINA_RETURN_IF_ERROR(
      os::read_exactly_at(file.get(), std::as_writable_bytes(std::span(&state, 1)), 0, path));
  if (state.magic != kStateMagic) {
    return fail(ErrorKind::kCorrupt, "'{}' is no state file of this program", path);
  }
  return state;
}

/// Runs `steps` steps after `steps_done`, and gives pages back as a balloon does.
Status run_steps(VirtualCpu& cpu, const GuestMemory& memory, std::uint64_t steps_done,
                 const Arguments& arguments) {
  for (std::uint64_t done = steps_done; done < steps_done + arguments.steps; done += kChunkSteps) {
    LAMINA_RETURN_IF_ERROR(cpu.run_chunk());
    const auto pages = discarded_pages(done / kChunkSteps, arguments.discards, memory.size_bytes());
    for (const std::size_t page : pages) {
      if (::madvise(memory.page(page).data(), kPageBytes, MADV_DONTNEED) != 0) {
        return system_failure("madvise", "guest memory", errno);
      }
    }
  }
  return {};
}

bool is_zero(std::span<const std::byte> page) {
  return std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{0}; });
}

bool is_right(const GuestMemory& memory, const PayloadModel& model, std::size_t page) {
  return std::ranges::equal(memory.page(page), model.page(page));
}

/// Counts by the log and by the model. `before` is the model before the run. Reads no page that is
/// not in the log, unless `whole_memory`.
Report compare(const GuestMemory& memory, const PayloadModel& before, const PayloadModel& after,
               const std::vector<bool>& dirty, bool whole_memory) {
  Report report;
  report.pages = dirty.size();
  for (std::size_t page = 0; page < dirty.size(); ++page) {
    const bool written = (after.uses()[page] & kWritten) != 0;
    const bool changed = written && !std::ranges::equal(before.page(page), after.page(page));
    report.dirty += dirty[page] ? 1 : 0;
    report.written += written ? 1 : 0;
    report.changed += changed ? 1 : 0;
    report.changed_to_data += changed && !is_zero(after.page(page)) ? 1 : 0;
    report.only_read += after.uses()[page] == kRead ? 1 : 0;
    report.dirty_only_read += dirty[page] && !written ? 1 : 0;
    report.unlogged += written && !dirty[page] ? 1 : 0;
    if ((dirty[page] || whole_memory) && !is_right(memory, after, page)) ++report.wrong_pages;
  }
  return report;
}

nlohmann::json as_json(const Report& report) {
  nlohmann::json json{{"steps_done", report.steps_done},
                      {"pages", report.pages},
                      {"dirty_pages", report.dirty},
                      {"written_pages", report.written},
                      {"changed_pages", report.changed},
                      {"changed_to_data_pages", report.changed_to_data},
                      {"only_read_pages", report.only_read},
                      {"dirty_only_read_pages", report.dirty_only_read},
                      {"unlogged_pages", report.unlogged},
                      {"wrong_pages", report.wrong_pages},
                      {"wrong_registers", report.wrong_registers}};
  if (report.checksum) json["checksum"] = fmt::format("{:016x}", *report.checksum);
  return json;
}

/// From the beginning; with a state path it pauses at the end.
Result<Report> run_from_start(const Arguments& arguments) {
  const std::size_t memory_bytes = arguments.memory_mib << 20;
  LAMINA_ASSIGN_OR_RETURN(const GuestMemory memory, GuestMemory::map(memory_bytes, std::nullopt));
  PayloadModel model(memory_bytes, arguments.discards);
  for (std::size_t page = 0; page < memory_bytes / kPageBytes; ++page) {
    std::ranges::copy(model.page(page), memory.page(page).begin());
  }
  LAMINA_ASSIGN_OR_RETURN(VirtualCpu cpu, VirtualCpu::create(memory.regions()));
  LAMINA_RETURN_IF_ERROR(cpu.reset());
  LAMINA_RETURN_IF_ERROR(run_steps(cpu, memory, 0, arguments));
  LAMINA_ASSIGN_OR_RETURN(const CpuState state, cpu.save());
  if (!arguments.state.empty()) {
    LAMINA_RETURN_IF_ERROR(
        write_state(arguments.state, {kStateMagic, memory_bytes, arguments.steps, state}));
    const std::vector<bool> all_pages(memory_bytes / kPageBytes, true);
    LAMINA_RETURN_IF_ERROR(write_pages(arguments.memory_file, memory, all_pages));
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<bool> dirty, cpu.take_dirty_log());
  const PayloadModel before = model;
  model.run(arguments.steps);
  Report report = compare(memory, before, model, dirty, true);
  report.steps_done = arguments.steps;
  report.wrong_registers = payload_registers(state) != model.registers();
  report.checksum = memory.checksum_with(payload_registers(state));
  return report;
}

Result<Report> resume(const Arguments& arguments) {
  LAMINA_ASSIGN_OR_RETURN(StateFile state, read_state(arguments.state));
  LAMINA_ASSIGN_OR_RETURN(const GuestMemory memory,
                          GuestMemory::map(state.memory_bytes, arguments.map));
  PageServerConnection connection;
  if (arguments.socket) {
    LAMINA_ASSIGN_OR_RETURN(
        connection,
        connect_to_page_server(*arguments.socket, memory.offered_regions(), kPageBytes));
  }
  LAMINA_ASSIGN_OR_RETURN(VirtualCpu cpu, VirtualCpu::create(memory.regions()));
  LAMINA_RETURN_IF_ERROR(cpu.restore(state.cpu));
  LAMINA_RETURN_IF_ERROR(run_steps(cpu, memory, state.steps_done, arguments));

  LAMINA_ASSIGN_OR_RETURN(const std::vector<bool> dirty, cpu.take_dirty_log());
  if (arguments.diff) {
    LAMINA_RETURN_IF_ERROR(write_pages(*arguments.diff, memory, dirty));
  }
  PayloadModel model(state.memory_bytes, arguments.discards);
  model.run(state.steps_done);
  const PayloadModel before = model;
  model.run(arguments.steps);
  LAMINA_ASSIGN_OR_RETURN(state.cpu, cpu.save());
  state.steps_done += arguments.steps;
  if (arguments.state_out) LAMINA_RETURN_IF_ERROR(write_state(*arguments.state_out, state));

  const bool whole_memory = !arguments.touch_only_report;
  Report report = compare(memory, before, model, dirty, whole_memory);
  report.steps_done = state.steps_done;
  report.wrong_registers = payload_registers(state.cpu) != model.registers();
  if (whole_memory) report.checksum = memory.checksum_with(payload_registers(state.cpu));
  return report;
}

/// Of one machine, with or without the log. An interval is what a guest does between two pauses:
/// the log is taken at its end, which makes each page's next write fault again.
struct IntervalTimes {
  double shortest_ms = 0;
  std::uint64_t dirty = 0;  ///< pages of the log in the intervals
  double take_ms = 0;       ///< the shortest KVM_GET_DIRTY_LOG of the whole memory
};

Result<IntervalTimes> time_intervals(const Arguments& arguments, const PayloadModel& beginning,
                                     VirtualCpu::DirtyLog log) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  };
  const std::size_t memory_bytes = arguments.memory_mib << 20;
  const bool is_resumed = arguments.map.has_value();
  LAMINA_ASSIGN_OR_RETURN(const GuestMemory memory, GuestMemory::map(memory_bytes, arguments.map));
  for (std::size_t page = 0; page < memory_bytes / kPageBytes && !is_resumed; ++page) {
    std::ranges::copy(beginning.page(page), memory.page(page).begin());
  }
  LAMINA_ASSIGN_OR_RETURN(VirtualCpu cpu, VirtualCpu::create(memory.regions(), log));
  LAMINA_RETURN_IF_ERROR(cpu.reset());
  IntervalTimes times;
  // The first one is what is measured of a guest that maps a file. Else it is not counted: KVM maps
  // the memory in it.
  const std::uint64_t intervals = is_resumed ? 0 : arguments.intervals;
  for (std::uint64_t interval = 0; interval <= intervals; ++interval) {
    const auto begin = Clock::now();
    LAMINA_RETURN_IF_ERROR(run_steps(cpu, memory, interval * arguments.steps, arguments));
    const double ran_ms = since(begin);
    const auto taken = Clock::now();
    std::vector<bool> dirty;
    if (log == VirtualCpu::DirtyLog::kOn) {
      LAMINA_ASSIGN_OR_RETURN(dirty, cpu.take_dirty_log());
    }
    const double take_ms = since(taken);
    if (interval == 0 && !is_resumed) continue;
    const bool is_first = interval <= 1;
    times.shortest_ms = is_first ? ran_ms : std::min(times.shortest_ms, ran_ms);
    times.take_ms = is_first ? take_ms : std::min(times.take_ms, take_ms);
    times.dirty += static_cast<std::uint64_t>(std::ranges::count(dirty, true));
  }
  return times;
}

/// What KVM's dirty log costs a guest that writes much: the same intervals, in turn, the shortest
/// of each kind.
Result<nlohmann::json> measure_log_cost(const Arguments& arguments) {
  const PayloadModel beginning(arguments.memory_mib << 20, 0);
  IntervalTimes with;
  IntervalTimes without;
  for (std::uint64_t round = 0; round < arguments.rounds; ++round) {
    LAMINA_ASSIGN_OR_RETURN(const IntervalTimes off,
                            time_intervals(arguments, beginning, VirtualCpu::DirtyLog::kOff));
    LAMINA_ASSIGN_OR_RETURN(const IntervalTimes on,
                            time_intervals(arguments, beginning, VirtualCpu::DirtyLog::kOn));
    if (round == 0 || off.shortest_ms < without.shortest_ms) without = off;
    if (round == 0 || on.shortest_ms < with.shortest_ms) with = on;
  }
  const std::uint64_t intervals = arguments.map ? 1 : arguments.intervals;
  const double dirty = static_cast<double>(with.dirty) / static_cast<double>(intervals);
  const double more_ms = with.shortest_ms - without.shortest_ms;
  constexpr double kUsPerMs = 1000;
  constexpr double kPercent = 100;
  return nlohmann::json{
      {"steps", arguments.steps},
      {"memory_mib", arguments.memory_mib},
      {"dirty_pages", dirty},
      {"without_log_ms", without.shortest_ms},
      {"with_log_ms", with.shortest_ms},
      {"slower_percent", more_ms / without.shortest_ms * kPercent},
      {"us_per_dirty_page", dirty > 0 ? more_ms * kUsPerMs / dirty : 0},
      {"take_log_ms", with.take_ms},
  };
}

/// Why this machine cannot run the guest, if it cannot. Asked first, so that no later failure is
/// taken for it.
std::optional<std::string> unavailable(bool by_page_server) {
  if (const Status usable = VirtualCpu::check_usable(); !usable) return usable.error().message;
  const os::MachineFacts machine = os::examine_machine();
  if (by_page_server && !machine.userfaultfd) return "userfaultfd: " + machine.userfaultfd_error;
  return std::nullopt;
}

int finish(const Result<Report>& report) {
  if (!report) {
    fmt::print(stderr, "vcpu_guest: {}\n", report.error().message);
    return kExitWrong;
  }
  fmt::print("{}\n", as_json(*report).dump());
  if (!report->right()) {
    fmt::print(stderr, "vcpu_guest: the guest differs from the payload's model\n");
    return kExitWrong;
  }
  return 0;
}

int main_with(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"a guest with a real processor, paused and resumed as Firecracker does"};
  app.require_subcommand(1);
  const auto add_steps = [&](CLI::App* command) {
    command->add_option("--steps", arguments.steps, "steps to run, a multiple of 256")
        ->required()
        ->check([](const std::string& text) -> std::string {
          std::uint64_t steps = 0;
          const char* end = text.data() + text.size();
          const auto [rest, error] = std::from_chars(text.data(), end, steps);
          const bool right = error == std::errc() && rest == end && steps % kChunkSteps == 0;
          return right ? "" : "not a multiple of 256";
        });
    command->add_option("--discards", arguments.discards,
                        "pages to give back after each 256 steps, the same in every run of a "
                        "guest (0)");
  };
  const auto add_memory = [&](CLI::App* command) {
    command->add_option("--memory-mib", arguments.memory_mib, "an even number (64)")
        ->check(CLI::Range(kMinMemoryBytes >> 20, kMaxMemoryBytes >> 20));
  };
  CLI::App* run = app.add_subcommand("run", "run without a pause");
  add_steps(run);
  add_memory(run);
  CLI::App* start = app.add_subcommand("start", "run from the beginning, then pause");
  add_steps(start);
  add_memory(start);
  start->add_option("--state", arguments.state, "VM state to write")->required();
  start->add_option("--memory", arguments.memory_file, "Full memory file to write")->required();
  CLI::App* again = app.add_subcommand("resume", "go on from a pause");
  add_steps(again);
  again->add_option("--state", arguments.state, "VM state to resume")->required();
  CLI::Option_group* source = again->add_option_group("memory");
  source->add_option("--socket", arguments.socket, "where a page server listens");
  source->add_option("--map", arguments.map, "a whole memory file, mapped privately");
  source->require_option(1);
  again->add_option("--state-out", arguments.state_out, "VM state to write at the pause");
  // A page that was given back is not in the dirty log, so a diff has its old contents; that is
  // right for a balloon, whose pages nobody reads, but not for this payload.
  again->add_option("--diff", arguments.diff, "Diff memory file to write at the pause")
      ->excludes("--discards");
  again->add_flag("--touch-only-report", arguments.touch_only_report,
                  "read no page that the guest has not touched: no checksum");
  CLI::App* cost = app.add_subcommand("log-cost", "time of a guest with and without a dirty log");
  add_steps(cost);
  add_memory(cost);
  cost->add_option("--intervals", arguments.intervals, "of --steps each, between two logs (8)")
      ->check(CLI::PositiveNumber);
  cost->add_option(
      "--map", arguments.map,
      "a memory file of `start --steps 0`, mapped privately: measures the one interval "
      "from a resume to the first pause");
  cost->add_option("--rounds", arguments.rounds, "of both kinds in turn (8)")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  if (arguments.memory_mib % 2 != 0) {
    fmt::print(stderr, "vcpu_guest: --memory-mib {} is odd\n", arguments.memory_mib);
    return kExitUsage;
  }
  if (const auto why = unavailable(arguments.socket.has_value())) {
    fmt::print(stderr, "vcpu_guest: SKIP: {}\n", *why);
    return kExitUnavailable;
  }
  if (cost->parsed()) {
    const auto measured = measure_log_cost(arguments);
    if (!measured) return finish(std::unexpected(measured.error()));
    fmt::print("{}\n", measured->dump());
    return 0;
  }
  return finish(again->parsed() ? resume(arguments) : run_from_start(arguments));
}

}  // namespace
}  // namespace lamina::tests

int main(int argc, char** argv) {
  try {
    return lamina::tests::main_with(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "vcpu_guest: %s\n", error.what());
    return lamina::tests::kExitWrong;
  }
}
