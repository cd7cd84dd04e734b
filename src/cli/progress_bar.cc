#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>

#include "cli/output.h"

namespace lamina::cli {
namespace {

constexpr std::uint64_t kFirstDrawMs = 400;
constexpr std::uint64_t kRedrawMs = 100;
constexpr std::size_t kBarCells = 30;

std::atomic<bool> interrupt_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void on_interrupt(int /*signal*/) { interrupt_requested.store(true); }

std::uint64_t now_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

/// Makes SIGINT, SIGTERM and SIGHUP request an interruption, each once. A signal that is ignored
/// (nohup) stays ignored.
void install_interrupt_handler() {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction inherited{};
    ::sigaction(signal, nullptr, &inherited);
    if (inherited.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace

ProgressBar::ProgressBar() : on_terminal_(::isatty(STDERR_FILENO) == 1) {
  install_interrupt_handler();
}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::begin(std::string_view phase, std::uint64_t total_bytes) {
  phase_ = phase;
  total_bytes_ = total_bytes;
  done_bytes_ = 0;
  next_draw_ms_ = now_ms() + (drawn_ ? 0 : kFirstDrawMs);
}

void ProgressBar::advance(std::uint64_t bytes) {
  done_bytes_ += bytes;
  if (!on_terminal_ || now_ms() < next_draw_ms_) return;
  next_draw_ms_ = now_ms() + kRedrawMs;
  draw();
}

bool ProgressBar::interrupted() { return interrupt_requested.load(); }

void ProgressBar::draw() {
  const std::uint64_t total = std::max<std::uint64_t>(total_bytes_, 1);
  const std::uint64_t done = std::min(done_bytes_, total);
  const auto filled =
      static_cast<std::size_t>(static_cast<double>(done) / static_cast<double>(total) * kBarCells);
  print_stderr(fmt::format("\r{:<16} [{}{}] {} of {}\x1b[K", phase_, std::string(filled, '#'),
                           std::string(kBarCells - filled, '.'), human_bytes(done),
                           human_bytes(total)));
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (drawn_) print_stderr("\r\x1b[K");
  drawn_ = false;
}

}  // namespace lamina::cli
