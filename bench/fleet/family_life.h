// The life of one family in a real store: each event of the plan is done, timed, and what the store
// gives back is compared with what the guests wrote.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fleet/guest.h"
#include "fleet/plan.h"
#include "lamina/result.h"
#include "lamina/store.h"

namespace lamina::bench::fleet {

struct Setting {
  std::string directory;  ///< for memory files; in the store's file system
  std::string policy;
  std::uint32_t pages = 0;      ///< of each guest
  bool verify_resumes = false;  ///< compares all pages at each resume, not a few
};

/// What was done and what it cost. Times in ms.
struct Cost {
  std::vector<double> pauses;  ///< ingest() of a diff
  std::vector<double> merges;  ///< compact() that merged
  std::vector<double> opens;   ///< a snapshot is opened to be read, before each pause
  std::vector<double> forks;
  std::vector<double> removals;
  std::vector<std::uint32_t> layers;  ///< of each snapshot that was opened
  std::uint64_t dirtied_bytes = 0;    ///< by guests
  std::uint64_t layer_bytes = 0;      ///< allocated for the layers of pauses, with trailers
  std::uint64_t header_bytes = 0;     ///< headers and facts, of pauses and merges
  std::uint64_t merged_bytes = 0;     ///< written by merges

  void add(const Cost& other);
};

/// Not thread-safe; several families may live in one store at the same time.
class FamilyLife {
 public:
  FamilyLife(const Store& store, const Setting& setting, const Family& family, std::size_t number);

  /// Makes the template.
  Status begin();
  /// Does what happens before `time`.
  Status live_until(double time);
  /// Compares all pages of all snapshots with what the guests wrote.
  [[nodiscard]] Status check() const;

  /// Adds the numbers of all pages that the family's snapshots have now.
  void add_values(std::vector<std::uint64_t>& values) const;
  [[nodiscard]] std::size_t living() const;
  [[nodiscard]] const Cost& cost() const { return cost_; }

 private:
  [[nodiscard]] std::string path_of(std::size_t sandbox) const;
  Status apply(const Event& event);
  Status give_birth(std::uint32_t sandbox);
  Status fork_from(const std::string& source, const Guest& memory, std::uint32_t sandbox);
  Status resume(std::uint32_t sandbox);
  Status pause(std::uint32_t sandbox);
  Status store_full(const std::string& path, Guest& guest);
  Status merge(const std::string& path);
  Status remove(std::uint32_t sandbox);
  void count_headers(const std::string& path);

  const Store& store_;
  const Setting& setting_;
  const Family& family_;
  std::size_t number_;
  Random random_;
  std::size_t next_event_ = 0;
  Guest template_;
  std::vector<std::optional<Guest>> guests_;  ///< of the sandboxes that live
  Cost cost_;
};

}  // namespace lamina::bench::fleet
