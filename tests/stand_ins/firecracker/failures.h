// Failures on demand, and a hand that holds the API until it is let go.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/result.h"

namespace lamina::tests {

/// Which points are to fail. Safe from several threads.
class Failures {
 public:
  /// The names of all points.
  static std::vector<std::string> points();

  /// "POINT" or "POINT:N": the N-th time (from 1) that the point is passed from now on, it fails.
  /// kUsage when there is no such point.
  Status arm(const std::string& text);

  /// Passes a point; true when it is to fail now.
  bool hits(std::string_view point);

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::string, unsigned>> armed_;
};

/// Where one thread waits until another lets it go.
class Hold {
 public:
  void wait();
  /// False when nobody waits.
  bool release();
  bool is_held();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
};

}  // namespace lamina::tests
