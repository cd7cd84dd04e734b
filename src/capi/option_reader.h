// Reads the options of the C interface: structs of another version, numbers that are no
// enumerators, null pointers.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "capi/enums.h"
#include "capi/handles.h"
#include "lamina.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::capi {

/// The size of an options struct in the first version of lamina.h that had it: none was ever
/// smaller. Must not change when fields are added.
template <typename Struct>
inline constexpr std::size_t kFirstSize = 0;

/// Copies the struct at `given` of `given_size` bytes to `known` of `known_size`: what is missing
/// becomes 0. kUnsupported if it is larger and a byte that has no place is not 0; kUsage if it is
/// smaller than `first_size`, or ends within a field. This is what clone3(2) and openat2(2) do.
Status copy_versioned(std::string_view name, const void* given, std::size_t given_size, void* known,
                      std::size_t known_size, std::size_t first_size);

/// The options at `given`; null: all defaults.
template <typename Struct>
Result<Struct> read_struct(std::string_view name, const Struct* given) {
  static_assert(kFirstSize<Struct> >= sizeof(std::size_t) && kFirstSize<Struct> <= sizeof(Struct),
                "enter the size of the struct at the end of option_reader.h");
  static_assert(std::is_trivially_copyable_v<Struct> && offsetof(Struct, struct_size) == 0);
  Struct known{};
  if (given == nullptr) return known;
  std::size_t given_size = 0;
  std::memcpy(&given_size, given, sizeof given_size);
  LAMINA_RETURN_IF_ERROR(
      copy_versioned(name, given, given_size, &known, sizeof known, kFirstSize<Struct>));
  return known;
}

/// Reads the fields of one call's options. The first error counts, and what is read after it does
/// not matter. Must outlive the operation: it keeps the progress, or several.
class OptionReader {
 public:
  OptionReader() = default;

  [[nodiscard]] const Status& status() const { return status_; }

  void refuse(Error error) {
    if (status_) status_ = std::unexpected(std::move(error));
  }

  /// Null: not given.
  static std::string text(const char* value) { return value == nullptr ? "" : value; }
  static std::optional<std::string> optional_text(const char* value) {
    if (value == nullptr) return std::nullopt;
    return value;
  }
  std::string required(const char* value, std::string_view field);
  std::vector<std::string> texts(const char* const* values, std::size_t count,
                                 std::string_view field);
  bool flag(lamina_bool value, std::string_view field);
  void must_be_zero(std::uint32_t value);
  static std::optional<Uuid> id(const lamina_uuid* value);
  /// 0: `otherwise`.
  std::chrono::milliseconds milliseconds(std::uint64_t value, std::chrono::milliseconds otherwise,
                                         std::string_view field);
  Progress* progress(const lamina_progress* handle);

  template <typename E>
  E choice(std::uint32_t number, std::string_view field) {
    const std::optional<E> value = enum_of<E>(number);
    if (value) return *value;
    refuse(fail(ErrorKind::kUsage, "{} is {}, which is not one of its values in lamina.h", field,
                number)
               .error());
    return {};
  }

  /// False, and an error, if the pointer to an array is null, and there should be `count` values;
  /// or if that is more than a million.
  bool is_array(bool is_null, std::size_t count, std::string_view field);

 private:
  Status status_;
  std::vector<std::shared_ptr<SharedProgress>> progress_;
};

template <>
inline constexpr std::size_t kFirstSize<lamina_ingest_options> = 112;
template <>
inline constexpr std::size_t kFirstSize<lamina_merge_options> = 48;
template <>
inline constexpr std::size_t kFirstSize<lamina_compact_options> = 48;
template <>
inline constexpr std::size_t kFirstSize<lamina_materialize_options> = 40;
template <>
inline constexpr std::size_t kFirstSize<lamina_verify_options> = 32;
template <>
inline constexpr std::size_t kFirstSize<lamina_list_options> = 24;
template <>
inline constexpr std::size_t kFirstSize<lamina_fork_options> = 32;
template <>
inline constexpr std::size_t kFirstSize<lamina_remove_options> = 40;
template <>
inline constexpr std::size_t kFirstSize<lamina_vmm> = 48;
template <>
inline constexpr std::size_t kFirstSize<lamina_pause_options> = 136;
template <>
inline constexpr std::size_t kFirstSize<lamina_resume_options> = 96;
template <>
inline constexpr std::size_t kFirstSize<lamina_live_fork_options> = 40;
template <>
inline constexpr std::size_t kFirstSize<lamina_clone_devices> = 64;
template <>
inline constexpr std::size_t kFirstSize<lamina_recover_options> = 80;
template <>
inline constexpr std::size_t kFirstSize<lamina_pack_options> = 56;
template <>
inline constexpr std::size_t kFirstSize<lamina_unpack_options> = 48;
template <>
inline constexpr std::size_t kFirstSize<lamina_push_options> = 80;
template <>
inline constexpr std::size_t kFirstSize<lamina_pull_options> = 56;
template <>
inline constexpr std::size_t kFirstSize<lamina_begin_pull_options> = 80;
template <>
inline constexpr std::size_t kFirstSize<lamina_fetch_options> = 24;
template <>
inline constexpr std::size_t kFirstSize<lamina_remote_list_options> = 32;
template <>
inline constexpr std::size_t kFirstSize<lamina_remote_remove_options> = 40;
template <>
inline constexpr std::size_t kFirstSize<lamina_prune_options> = 64;
template <>
inline constexpr std::size_t kFirstSize<lamina_remote_key_list_options> = 32;
template <>
inline constexpr std::size_t kFirstSize<lamina_remote_key_rotate_options> = 72;
template <>
inline constexpr std::size_t kFirstSize<lamina_remote_key_destroy_options> = 40;

}  // namespace lamina::capi
