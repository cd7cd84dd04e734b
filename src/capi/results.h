// What the C interface hands out: a struct for C, with the C++ object that its strings are in.
//
// Each result is registered by its address until lamina_free(), so that a second lamina_free(), or
// one of something else, finds nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <memory_resource>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lamina.h"
#include "lamina/result.h"

namespace lamina::capi {

/// Memory for the structs and arrays of one result. They are freed all at once, and nothing in them
/// has a destructor.
class Arena {
 public:
  /// `count` values of zeros.
  template <typename T>
  T* make(std::size_t count = 1) {
    static_assert(std::is_trivially_destructible_v<T>);
    T* made = std::pmr::polymorphic_allocator<T>(&memory_).allocate(count);
    return std::uninitialized_value_construct_n(made, count) - count;
  }

  /// Pointers to the strings of `lines`, which must outlive this.
  const char* const* lines(const std::vector<std::string>& lines) {
    const char** made = make<const char*>(lines.size());
    for (std::size_t i = 0; i < lines.size(); ++i) made[i] = lines[i].c_str();
    return made;
  }

 private:
  std::pmr::monotonic_buffer_resource memory_;
};

/// Base of what is behind a result.
class Held {
 public:
  Held() = default;
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  Held(Held&&) = delete;
  Held& operator=(Held&&) = delete;
  virtual ~Held() = default;
};

/// A C++ report, the C struct that describes it, and what that points to.
template <typename Described, typename Report>
class HeldReport : public Held {
 public:
  explicit HeldReport(Report&& report) : report_(std::move(report)) {
    described_.struct_size = sizeof described_;
    describe(arena_, report_, described_);
  }
  [[nodiscard]] const Described* described() const { return &described_; }
  [[nodiscard]] const Report& report() const { return report_; }

 private:
  Report report_;
  Arena arena_;
  Described described_{};
};

/// Registers `held` under `address`, until lamina_free(address).
void keep(const void* address, std::shared_ptr<Held> held);

/// What is registered under `address`; null if nothing is.
std::shared_ptr<Held> kept(const void* address);

/// Makes the C struct of `report` by describe(Arena&, const Report&, Described&), which is found by
/// the types of its arguments. The caller of the C interface frees it with lamina_free().
template <typename Described, typename Report>
const Described* hold(Report report) {
  auto held = std::make_shared<HeldReport<Described, Report>>(std::move(report));
  const Described* described = held->described();
  keep(described, std::move(held));
  return described;
}

/// Passes `error` to the caller of the C interface in *`out`, if that is not null, and returns its
/// code. If there is no memory for it, *out is a constant error that says so.
lamina_code report_error(Error error, const lamina_error** out) noexcept;

/// The code of an error kind.
lamina_code code_of(ErrorKind kind);

void describe(Arena& arena, const Error& error, lamina_error& described);

}  // namespace lamina::capi
