#include "exhaustion/allocations.h"

#include <dlfcn.h>
#include <execinfo.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>
#include <string_view>

namespace {

constexpr std::int64_t kPlenty = std::numeric_limits<std::int64_t>::max();

std::atomic<std::int64_t> g_left = kPlenty;
std::atomic<std::int64_t> g_least = 0;  ///< below that there is memory again
std::atomic<bool> g_failed = false;

/// nlohmann::json's destructor allocates (it flattens what it destroys), and would end the process:
/// nothing can be done about that from outside, so such an allocation does not fail here. REQUIRES:
/// the program exports its symbols.
bool is_in_json_destructor() {
  constexpr int kMost = 12;
  std::array<void*, kMost> callers{};
  const int count = ::backtrace(callers.data(), kMost);
  for (int i = 0; i < count; ++i) {
    Dl_info info{};
    if (::dladdr(callers[static_cast<std::size_t>(i)], &info) == 0 || info.dli_sname == nullptr) {
      continue;
    }
    const std::string_view name = info.dli_sname;
    if (name.find("basic_json") != std::string_view::npos &&
        (name.find("destroy") != std::string_view::npos ||
         name.find("D2Ev") != std::string_view::npos ||
         name.find("D1Ev") != std::string_view::npos)) {
      return true;
    }
  }
  return false;
}

// NOLINTBEGIN(cppcoreguidelines-no-malloc): operator new itself is here.
void* allocate(std::size_t size, std::size_t alignment) {
  if (g_left.load(std::memory_order_relaxed) != kPlenty) {
    const std::int64_t left = g_left.fetch_sub(1, std::memory_order_relaxed);
    if (left <= 0 && left >= g_least.load(std::memory_order_relaxed) && !is_in_json_destructor()) {
      g_failed = true;
      return nullptr;
    }
  }
  if (size == 0) size = 1;
  if (alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__) return std::malloc(size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

constexpr std::size_t kUsual = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size, kUsual); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, kUsual); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, kUsual);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, kUsual);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
// NOLINTEND(cppcoreguidelines-no-malloc)

namespace lamina::tests {

MemoryRunsOut::MemoryRunsOut(std::int64_t count, std::int64_t more) {
  // The first call loads a library.
  static_cast<void>(is_in_json_destructor());
  g_failed = false;
  g_least = -more;
  g_left = count;
}

MemoryRunsOut::~MemoryRunsOut() { end(); }

bool MemoryRunsOut::end() {
  g_left = kPlenty;
  return g_failed;
}

}  // namespace lamina::tests
