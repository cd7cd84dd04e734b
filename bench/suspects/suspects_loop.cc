#include "suspects_loop.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/block.h"
#include "base/error.h"
#include "format/trailer.h"
#include "os/userfaultfd.h"
#include "touching_guest.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kRunBlocks = 16;
constexpr std::size_t kMostEvents = 64;

class Loop {
 public:
  Loop(const BareGuest& guest, const BareLayer& layer, Waking waking)
      : guest_(guest), layer_(layer), waking_(waking), buffer_(kRunBlocks * kBlockBytes) {}

  Status handle(std::span<const uffd_msg> events) {
    std::array<format::BlockRun, kMostEvents> rests{};
    std::size_t rest_count = 0;
    ++batches_;
    events_ += events.size();
    for (const uffd_msg& event : events) {
      if (event.event != UFFD_EVENT_PAGEFAULT) continue;
      const auto block = static_cast<std::uint32_t>(
          (event.arg.pagefault.address - guest_.address()) / kBlockBytes);
      const std::uint32_t count = std::min(kRunBlocks, layer_.block_count() - block);
      LAMINA_RETURN_IF_ERROR(fill({block, 1}, waking_ != Waking::kRun));
      rests[rest_count++] = {block + 1, count - 1};
    }
    for (const format::BlockRun& rest : std::span(rests).first(rest_count)) {
      LAMINA_RETURN_IF_ERROR(fill(rest, waking_ == Waking::kEachCopy));
      if (waking_ == Waking::kRest) LAMINA_RETURN_IF_ERROR(wake(rest));
      if (waking_ == Waking::kRun) {
        LAMINA_RETURN_IF_ERROR(wake({rest.guest_block - 1, rest.block_count + 1}));
      }
    }
    if (waking_ == Waking::kBatch) return wake({0, layer_.block_count()});
    return {};
  }

  [[nodiscard]] std::uint64_t batches() const { return batches_; }
  [[nodiscard]] std::uint64_t events() const { return events_; }

 private:
  Status fill(const format::BlockRun& run, bool wakes) {
    if (run.block_count == 0) return {};
    const auto data = std::span(buffer_).first(run.block_count * kBlockBytes);
    LAMINA_RETURN_IF_ERROR(layer_.read(run.guest_block, data));
    uffdio_copy copy{};
    copy.dst = guest_.address() + run.guest_block * kBlockBytes;
    copy.src = reinterpret_cast<std::uint64_t>(data.data());
    copy.len = data.size();
    copy.mode = wakes ? 0 : UFFDIO_COPY_MODE_DONTWAKE;
    if (::ioctl(guest_.userfaultfd(), UFFDIO_COPY, &copy) == 0) return {};
    // Stopped at a page that is there. Who waits for that one is woken; another fault fills the
    // rest.
    if (errno != EEXIST && errno != EAGAIN) return system_failure("copy to", "guest", errno);
    return wakes ? wake(run) : Status{};
  }

  Status wake(const format::BlockRun& run) {
    if (run.block_count == 0) return {};
    return os::uffd_wake(guest_.userfaultfd(), guest_.address() + run.guest_block * kBlockBytes,
                         run.block_count * kBlockBytes);
  }

  const BareGuest& guest_;
  const BareLayer& layer_;
  const Waking waking_;
  std::uint64_t batches_ = 0;
  std::uint64_t events_ = 0;
  std::vector<std::byte> buffer_;
};

/// What one run of a contender has.
struct Running {
  std::unique_ptr<BareGuest> guest;
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Pinned> pinned;
  double cpu_ms = 0;
};

Status prepare(Running& running, const LoopSetting& setting) {
  BareTask task;
  task.memory_bytes = setting.layer->bytes().size();
  task.touches = *setting.touches;
  task.threads = setting.threads;
  task.cpu = setting.guest_cpu;
  task.measure = setting.measure;
  task.think_ns = setting.think_ns;
  LAMINA_ASSIGN_OR_RETURN(running.guest, BareGuest::start(task));
  running.loop = std::make_unique<Loop>(*running.guest, *setting.layer, setting.waking);
  running.pinned = std::make_unique<Pinned>(setting.server_cpu);
  return {};
}

Status serve(Running& running, const LoopSetting& setting) {
  const double start = thread_cpu_ms();
  LAMINA_RETURN_IF_ERROR(running.guest->go());
  LAMINA_RETURN_IF_ERROR(
      serve_guest(*running.guest, setting.waiting,
                  [&](std::span<const uffd_msg> events) { return running.loop->handle(events); }));
  running.cpu_ms = thread_cpu_ms() - start;
  return {};
}

Status check_sum(const Running& running, const LoopSetting& setting) {
  if (running.guest->sum() == setting.layer->expected_sum(*setting.touches)) return {};
  return fail(ErrorKind::kCorrupt, "the guest read other bytes than the layer has");
}

}  // namespace

Contender looping(const std::string& name, const LoopSetting& setting,
                  std::function<void(const LoopFigures&)> after) {
  const auto running = std::make_shared<Running>();
  return {name, [=] { return prepare(*running, setting); },
          [=] { return serve(*running, setting); },
          [=] { return setting.layer->compare_guest(*running->guest, *setting.touches); },
          [=, after = std::move(after)]() -> Status {
            LAMINA_RETURN_IF_ERROR(check_sum(*running, setting));
            if (after) {
              after({running->cpu_ms, running->loop->batches(), running->loop->events(),
                     running->guest->nanoseconds()});
            }
            *running = {};
            return {};
          }};
}

void FigureTable::add(const std::string& figure, const std::string& contender, double value) {
  const auto row = std::ranges::find(rows_, figure, &std::pair<std::string, Row>::first);
  Row& samples = row != rows_.end() ? row->second : rows_.emplace_back(figure, Row{}).second;
  const auto one = std::ranges::find(samples, contender, &Samples::contender);
  Samples& values = one != samples.end() ? *one : samples.emplace_back(Samples{contender, {}});
  values.milliseconds.push_back(value);
}

const FigureTable::Row* FigureTable::find(const std::string& figure) const {
  const auto row = std::ranges::find(rows_, figure, &std::pair<std::string, Row>::first);
  return row == rows_.end() ? nullptr : &row->second;
}

void FigureTable::report_times(Bench& bench, const std::string& name, const std::string& what,
                               const std::string& figure) const {
  const Row* row = find(figure);
  if (row == nullptr) return;
  Measurement measurement;
  measurement.name = name + "/" + figure;
  measurement.what = what;
  measurement.floor_is = "none";
  measurement.samples = *row;
  bench.add(std::move(measurement));
  note_ratios(bench);
}

void FigureTable::note(Bench& bench, const std::string& figure) const {
  const Row* row = find(figure);
  if (row == nullptr) return;
  std::string text = figure + ":";
  for (const Samples& one : *row) {
    text += fmt::format("{} {} {:.1f}", &one == &row->front() ? "" : ",", one.contender,
                        spread_of(one.milliseconds).median);
  }
  bench.note(text);
}

void note_ratios(Bench& bench) {
  const Measurement& measurement = bench.measurements().back();
  std::vector<std::string> notes;
  for (const Samples& one : measurement.samples) {
    if (one.contender == "ours") continue;
    const auto ratios = measurement.ratios(one.contender, "ours");
    if (!ratios) continue;
    notes.push_back(fmt::format("{} / ours: {:.2f} ({:.2f} to {:.2f})", one.contender,
                                ratios->median, ratios->minimum, ratios->maximum));
  }
  for (const std::string& note : notes) bench.note(note);
}

Comparison suspect_comparison(const std::string& name, const std::string& what,
                              std::uint64_t bytes) {
  Comparison comparison;
  comparison.name = name;
  comparison.what = what;
  comparison.floor_is = "none";
  comparison.ballast_bytes = bytes + (std::uint64_t{64} << 20);
  return comparison;
}

}  // namespace lamina::bench
