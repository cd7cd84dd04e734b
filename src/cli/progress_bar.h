#pragma once

#include <cstdint>
#include <string>

#include "lamina/progress.h"

namespace lamina::cli {

/// Draws a progress bar on stderr, if that is a terminal and the operation takes longer than 0.4 s.
/// Interrupts the operation on a signal: from the construction of the first ProgressBar on, the
/// first SIGINT, SIGTERM and SIGHUP only make interrupted() true; a second one of the same kind
/// ends the process.
class ProgressBar : public Progress {
 public:
  ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ProgressBar(ProgressBar&&) = delete;
  ProgressBar& operator=(ProgressBar&&) = delete;
  ~ProgressBar() override;

  void begin(std::string_view phase, std::uint64_t total_bytes) override;
  void advance(std::uint64_t bytes) override;
  [[nodiscard]] bool interrupted() override;

  /// Erases the bar, so that the next output starts on an empty line.
  void clear();

 private:
  void draw();

  bool on_terminal_;
  bool drawn_ = false;
  std::string phase_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t next_draw_ms_ = 0;
};

}  // namespace lamina::cli
