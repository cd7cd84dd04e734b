// Reading a layer before it is copied: what comes is announced to the kernel, or read by a thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <thread>

#include "suspects_layer.h"
#include "suspects_populate.h"

namespace lamina::bench {

/// Reads a portion's runs into `buffer`, one after the other, and checks them.
Status read_portion(const BareLayer& layer, const BarePortion& portion,
                    std::span<std::byte> buffer);

/// Announces what comes, a window ahead of what is copied.
class Announcer {
 public:
  Announcer(const BareLayer& layer, std::span<const BarePortion> portions, Announcing announcing)
      : layer_(layer), portions_(portions), announcing_(announcing) {}

  /// Before the portion `number` is read.
  void reach(std::size_t number);

 private:
  const BareLayer& layer_;
  std::span<const BarePortion> portions_;
  const Announcing announcing_;
  std::size_t next_ = 0;
};

/// Announces all portions from a thread of its own, where that is the way of announcing.
class AnnouncingThread {
 public:
  AnnouncingThread(const BareLayer& layer, std::span<const BarePortion> portions,
                   Announcing announcing);
  AnnouncingThread(const AnnouncingThread&) = delete;
  AnnouncingThread& operator=(const AnnouncingThread&) = delete;
  AnnouncingThread(AnnouncingThread&&) = delete;
  AnnouncingThread& operator=(AnnouncingThread&&) = delete;
  ~AnnouncingThread();

 private:
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

/// A thread that reads portions into buffers, in turn; ends with this object. Whoever copies reads
/// too while it has nothing to copy, as long as reads are quick, as ours does (not kHelperAlone).
class Helper {
 public:
  Helper(const BareLayer& layer, std::span<const BarePortion> portions, PopulateBuffers& buffers,
         const PopulateWay& way, int cpu);
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;
  Helper(Helper&&) = delete;
  Helper& operator=(Helper&&) = delete;
  ~Helper();

  /// Waits for a portion; nothing when it could not be read.
  std::span<const std::byte> take(std::size_t number);
  void give_back(std::size_t number);

 private:
  void run();
  bool read_if_posted(std::size_t number);
  bool read_one_behind(std::size_t number);
  std::atomic<std::uint64_t>& state_of(std::size_t number) {
    return states_[number % PopulateBuffers::kCount];
  }
  std::span<std::byte> buffer_of(std::size_t number) {
    return buffers_.buffers[number % PopulateBuffers::kCount];
  }

  const BareLayer& layer_;
  std::span<const BarePortion> portions_;
  PopulateBuffers& buffers_;
  const bool copier_helps_;
  Announcer announcer_;
  std::array<std::atomic<std::uint64_t>, PopulateBuffers::kCount> states_{};
  std::atomic<std::uint64_t> read_ns_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;  // the last: it uses the others
};

}  // namespace lamina::bench
