#include "capi/handles.h"

#include <algorithm>
#include <cstring>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/error.h"

namespace lamina::capi {
namespace {

/// The low bits of a handle. They are odd, so a handle is never the address of a struct.
enum class HandleKind : std::uintptr_t { kStore = 1, kReader = 3, kProgress = 5 };
constexpr int kKindBits = 3;

std::atomic<std::uintptr_t> next_number{1};

/// The open handles of one kind. Thread-safe.
template <typename Handle, typename Object>
class HandleTable {
 public:
  HandleTable(HandleKind kind, std::string_view name) : kind_(kind), name_(name) {}

  Handle* add(std::shared_ptr<Object> object) {
    const std::uintptr_t number = (next_number++ << kKindBits) | static_cast<std::uintptr_t>(kind_);
    const std::unique_lock lock(mutex_);
    objects_.emplace(number, std::move(object));
    return reinterpret_cast<Handle*>(number);
  }

  Result<std::shared_ptr<Object>> find(const Handle* handle) const {
    const std::shared_lock lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<std::uintptr_t>(handle));
    if (found == objects_.end()) return refusal(handle);
    return found->second;
  }

  Status remove(const Handle* handle) {
    if (handle == nullptr) return {};
    std::shared_ptr<Object> removed;  // destroyed without the lock
    const std::unique_lock lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<std::uintptr_t>(handle));
    if (found == objects_.end()) return refusal(handle);
    removed = std::move(found->second);
    objects_.erase(found);
    return {};
  }

 private:
  [[nodiscard]] std::unexpected<Error> refusal(const Handle* handle) const {
    if (handle == nullptr) {
      return with_remedy(fail(ErrorKind::kUsage, "{} is null", name_), "open one: {}_open()",
                         name_);
    }
    return fail(ErrorKind::kUsage, "{} {} is not open: it was closed, or is something else", name_,
                static_cast<const void*>(handle));
  }

  HandleKind kind_;
  std::string_view name_;
  mutable std::shared_mutex mutex_;
  std::unordered_map<std::uintptr_t, std::shared_ptr<Object>> objects_;
};

// Never destroyed: a program may use the library in its last destructors.
auto& stores() {
  static auto& table =
      *new HandleTable<lamina_store, const Store>(HandleKind::kStore, "lamina_store");
  return table;
}
auto& readers() {
  static auto& table =
      *new HandleTable<lamina_reader, const SnapshotReader>(HandleKind::kReader, "lamina_reader");
  return table;
}
auto& progresses() {
  static auto& table =
      *new HandleTable<lamina_progress, SharedProgress>(HandleKind::kProgress, "lamina_progress");
  return table;
}

}  // namespace

void SharedProgress::begin(std::string_view phase, std::uint64_t total_bytes) {
  const std::scoped_lock lock(mutex_);
  phase_ = phase;
  ++phases_;
  done_bytes_ = 0;
  total_bytes_ = total_bytes;
}

void SharedProgress::advance(std::uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  done_bytes_ += bytes;
}

lamina_progress_state SharedProgress::state() const {
  lamina_progress_state state{};
  state.struct_size = sizeof state;
  const std::scoped_lock lock(mutex_);
  state.phases = phases_;
  state.done_bytes = done_bytes_;
  state.total_bytes = total_bytes_;
  state.is_cancelled = cancelled_ ? 1 : 0;
  std::memcpy(state.phase, phase_.data(), std::min(phase_.size(), sizeof state.phase - 1));
  return state;
}

lamina_store* add_handle(std::shared_ptr<const Store> object) {
  return stores().add(std::move(object));
}
lamina_reader* add_handle(std::shared_ptr<const SnapshotReader> object) {
  return readers().add(std::move(object));
}
lamina_progress* add_handle(std::shared_ptr<SharedProgress> object) {
  return progresses().add(std::move(object));
}

Result<std::shared_ptr<const Store>> object_of(const lamina_store* handle) {
  return stores().find(handle);
}
Result<std::shared_ptr<const SnapshotReader>> object_of(const lamina_reader* handle) {
  return readers().find(handle);
}
Result<std::shared_ptr<SharedProgress>> object_of(const lamina_progress* handle) {
  return progresses().find(handle);
}

Status remove_handle(const lamina_store* handle) { return stores().remove(handle); }
Status remove_handle(const lamina_reader* handle) { return readers().remove(handle); }
Status remove_handle(const lamina_progress* handle) { return progresses().remove(handle); }

}  // namespace lamina::capi
