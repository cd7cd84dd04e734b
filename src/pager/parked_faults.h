// Faults on blocks that have not arrived yet. Their threads wait; nobody else does.
//
// A fault is kept by its address and served again, from the beginning, when its block may be here:
// meanwhile the page may have been filled, given back or unmapped. If there are more faults than
// there is room for, the surplus is only counted, and all threads are woken at the next occasion,
// so that they fault again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/run.h"

namespace lamina::pager {

struct ParkedFault {
  std::uint64_t page_address = 0;  ///< in the VM's process
  BlockRun blocks{};               ///< that it needs
  std::uint64_t since_ns = 0;      ///< os::monotonic_ns
  std::uint32_t damaged = 0;       ///< how often its blocks were here and did not match
  std::uint64_t answers = 0;       ///< ArrivingBlocks::answers() when they did not
};

class ParkedFaults {
 public:
  static constexpr std::size_t kRoom = 4096;

  /// Allocates; add() does not.
  void reserve() {
    faults_.reserve(kRoom);
    again_.reserve(kRoom);
  }

  /// Keeps a fault, or counts it if that of the page is kept already or there is no room.
  void add(const ParkedFault& fault) {
    for (ParkedFault& known : faults_) {
      if (known.page_address == fault.page_address) return;
    }
    if (faults_.size() == kRoom) {
      has_surplus_ = true;
      return;
    }
    faults_.push_back(fault);
  }

  /// Takes all faults out, to be served again or added again. Valid until the next call.
  std::vector<ParkedFault>& take_all() {
    again_.clear();
    again_.swap(faults_);
    return again_;
  }
  /// True if threads wait whose faults are not kept; they must be woken.
  bool take_surplus() {
    const bool had = has_surplus_;
    has_surplus_ = false;
    return had;
  }

  [[nodiscard]] bool empty() const { return faults_.empty() && !has_surplus_; }
  [[nodiscard]] const std::vector<ParkedFault>& faults() const { return faults_; }

 private:
  std::vector<ParkedFault> faults_;
  std::vector<ParkedFault> again_;
  bool has_surplus_ = false;
};

}  // namespace lamina::pager
