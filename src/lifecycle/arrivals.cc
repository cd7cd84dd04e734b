#include "lifecycle/arrivals.h"

#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "operations/disk_use.h"
#include "store/areas.h"
#include "store/arrival.h"
#include "store/arrival_removal.h"
#include "store/pin.h"

namespace lamina::lifecycle {
namespace {

class ArrivalEnd {
 public:
  ArrivalEnd(const store::Store& store, const RecoverOptions& options,
             const std::set<std::string>& released_pins, RecoverReport& report)
      : store_(store), options_(options), released_pins_(released_pins), report_(report) {}

  Status run() {
    if (!options_.dry_run) LAMINA_RETURN_IF_ERROR(store::remove_ended_arrivals(store_));
    LAMINA_ASSIGN_OR_RETURN(const std::vector<Uuid> ids, store::list_arrivals(store_.path()));
    for (const Uuid& id : ids) {
      const Status done = end(id);
      if (!done) report_.notes.push_back(one_line(done.error()));
    }
    return {};
  }

 private:
  Status end(const Uuid& id) {
    ArrivalReport one;
    one.id = id;
    const std::string path =
        fmt::format("{}/{}/{}", store_.path(), store::kArrivingArea, id.to_string());
    auto directory = store::open_in_store(path);
    // It has ended meanwhile.
    if (!directory) {
      const bool is_gone = directory.error().kind == ErrorKind::kNotFound;
      return is_gone ? Status() : std::unexpected(directory.error());
    }
    const auto arrival = store::open_arrival(store_.path(), id);
    if (!arrival && arrival.error().kind == ErrorKind::kNotFound) return {};
    if (arrival) {
      one.name = arrival->facts.name;
      one.bucket = arrival->facts.bucket_name;
      one.frames = arrival->map.frame_count();
      one.frames_here = arrival->map.frames_here();
      one.is_lost = arrival->map.state() == store::ArrivalState::kLost;
    } else {
      report_.notes.push_back(one_line(arrival.error()));
      // Of another store, or not readable now. Who uses it is asked all the same before it goes.
      if (arrival.error().kind != ErrorKind::kCorrupt && !options_.adopt_store) {
        ++report_.foreign;
        return {};
      }
    }
    one.bytes = operations::FileTally().add(operations::files_below(directory->get(), path).files);
    LAMINA_RETURN_IF_ERROR(remove_unused(directory->get(), path, one));
    if (!arrival && arrival.error().kind != ErrorKind::kCorrupt && one.is_removed) {
      ++report_.adopted;
    }
    report_.arrivals.push_back(std::move(one));
    return {};
  }

  Status remove_unused(int directory, const std::string& path, ArrivalReport& one) {
    // Looked at without the locks first, so that a fetcher that starts for a VM finds them free.
    LAMINA_ASSIGN_OR_RETURN(one.vms, count_vms(one.id));
    if (one.vms > 0) return look_at_fetcher(directory, path, one);
    LAMINA_ASSIGN_OR_RETURN(const store::ArrivalClaim claim, store::claim_arrival(directory, path));
    one.has_fetcher = claim.is_fetched;
    one.is_being_resumed = claim.is_being_resumed;
    if (!claim.has_all()) return {};
    // A resume has the lock of the name while it pins the snapshot.
    std::optional<store::NameLock> name;
    if (!one.name.empty()) {
      auto locked = store_.lock(one.name);
      one.is_being_resumed = !locked && locked.error().kind == ErrorKind::kBusy;
      if (one.is_being_resumed) return {};
      if (!locked) return std::unexpected(locked.error());
      name = std::move(*locked);
    }
    LAMINA_ASSIGN_OR_RETURN(one.vms, count_vms(one.id));
    if (one.vms > 0) return {};
    if (!options_.dry_run) LAMINA_RETURN_IF_ERROR(store::remove_arrival(store_, one.id));
    one.is_removed = true;
    ++report_.removed_arrivals;
    return {};
  }

  static Status look_at_fetcher(int directory, const std::string& path, ArrivalReport& one) {
    LAMINA_ASSIGN_OR_RETURN(one.has_fetcher, store::is_fetched(directory, path));
    return {};
  }

  /// The pins that link its marker: those that recovery has kept.
  [[nodiscard]] Result<std::uint64_t> count_vms(const Uuid& id) const {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names, store::list_pins(store_.path()));
    std::uint64_t count = 0;
    for (const std::string& name : names) {
      if (released_pins_.contains(name)) continue;
      const std::string base =
          fmt::format("{}/{}/{}/{}", store_.path(), store::kVmsArea, name, store::kPinBaseName);
      const auto directory = store::open_in_store(base);
      if (!directory) {
        if (directory.error().kind == ErrorKind::kNotFound) continue;
        return std::unexpected(directory.error());
      }
      LAMINA_ASSIGN_OR_RETURN(const auto marked,
                              store::read_arrival_marker(directory->get(), base));
      if (marked && *marked == id) ++count;
    }
    return count;
  }

  const store::Store& store_;
  const RecoverOptions& options_;
  const std::set<std::string>& released_pins_;
  RecoverReport& report_;
};

}  // namespace

Status end_arrivals(const store::Store& store, const RecoverOptions& options,
                    const std::set<std::string>& released_pins, RecoverReport& report) {
  return ArrivalEnd(store, options, released_pins, report).run();
}

}  // namespace lamina::lifecycle
