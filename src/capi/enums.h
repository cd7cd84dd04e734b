// The enumerations of the C interface, and those of the C++ interface that they stand for: one
// table for each. The numbers of the C interface are part of its ABI; those of C++ are not.
//
// A C++ value without a row is refused by the compiler, because each table is as long as that of
// its words (lamina/words.h), or checked by a static_assert.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "lamina.h"
#include "lamina/compact.h"
#include "lamina/header_format.h"
#include "lamina/huge_pages.h"
#include "lamina/ingest.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lamina/materialize.h"
#include "lamina/pack.h"
#include "lamina/serve.h"
#include "lamina/words.h"

namespace lamina::capi {

template <typename E>
struct EnumRow {
  std::uint32_t number;
  E value;
};

/// The rows of E. The first row of a value is its number in reports.
template <typename E>
inline constexpr std::array<EnumRow<E>, 0> kEnumRows{};

template <>
inline constexpr std::array kEnumRows<MemoryFileKind> = {
    EnumRow<MemoryFileKind>{LAMINA_KIND_AUTO, MemoryFileKind::kAuto},
    EnumRow<MemoryFileKind>{LAMINA_KIND_FULL, MemoryFileKind::kFull},
    EnumRow<MemoryFileKind>{LAMINA_KIND_DIFF, MemoryFileKind::kDiff}};

template <>
inline constexpr std::array kEnumRows<Layout> = {
    EnumRow<Layout>{LAMINA_LAYOUT_AUTO, Layout::kAuto},
    EnumRow<Layout>{LAMINA_LAYOUT_COMPACT, Layout::kCompact},
    EnumRow<Layout>{LAMINA_LAYOUT_ADOPTED, Layout::kAdopted}};

template <>
inline constexpr std::array kEnumRows<Zeros> = {
    EnumRow<Zeros>{LAMINA_ZEROS_UNSPECIFIED, Zeros::kUnspecified},
    EnumRow<Zeros>{LAMINA_ZEROS_WRITTEN, Zeros::kWritten},
    EnumRow<Zeros>{LAMINA_ZEROS_INHERIT, Zeros::kInherit}};

template <>
inline constexpr std::array kEnumRows<Dedup> = {
    EnumRow<Dedup>{LAMINA_DEDUP_NONE, Dedup::kNone},
    EnumRow<Dedup>{LAMINA_DEDUP_PARENT, Dedup::kParent}};

template <>
inline constexpr std::array kEnumRows<HeaderFormat> = {
    EnumRow<HeaderFormat>{LAMINA_HEADER_NATIVE, HeaderFormat::kNative},
    EnumRow<HeaderFormat>{LAMINA_HEADER_V1, HeaderFormat::kV1},
    EnumRow<HeaderFormat>{LAMINA_HEADER_V3, HeaderFormat::kV3}};

template <>
inline constexpr std::array kEnumRows<HugePages> = {
    EnumRow<HugePages>{LAMINA_HUGE_PAGES_AS_BEFORE, HugePages::kAsBefore},
    EnumRow<HugePages>{LAMINA_HUGE_PAGES_NONE, HugePages::kNone},
    EnumRow<HugePages>{LAMINA_HUGE_PAGES_TRANSPARENT, HugePages::kTransparent},
    EnumRow<HugePages>{LAMINA_HUGE_PAGES_2M, HugePages::k2MiB}};

template <>
inline constexpr std::array kEnumRows<CompactOutcome> = {
    EnumRow<CompactOutcome>{LAMINA_COMPACT_NOTHING, CompactOutcome::kNothing},
    EnumRow<CompactOutcome>{LAMINA_COMPACT_PLANNED, CompactOutcome::kPlanned},
    EnumRow<CompactOutcome>{LAMINA_COMPACT_MERGED, CompactOutcome::kMerged},
    EnumRow<CompactOutcome>{LAMINA_COMPACT_DROPPED, CompactOutcome::kDropped}};

template <>
inline constexpr std::array kEnumRows<Reflink> = {
    EnumRow<Reflink>{LAMINA_REFLINK_AUTO, Reflink::kAuto},
    EnumRow<Reflink>{LAMINA_REFLINK_ALWAYS, Reflink::kAlways},
    EnumRow<Reflink>{LAMINA_REFLINK_NEVER, Reflink::kNever}};

template <>
inline constexpr std::array kEnumRows<PendingKind> = {
    EnumRow<PendingKind>{LAMINA_PENDING_PAUSE, PendingKind::kPause},
    EnumRow<PendingKind>{LAMINA_PENDING_INGEST, PendingKind::kIngest},
    EnumRow<PendingKind>{LAMINA_PENDING_OTHER, PendingKind::kOther}};

template <>
inline constexpr std::array kEnumRows<AfterPause> = {
    EnumRow<AfterPause>{LAMINA_AFTER_STOP, AfterPause::kStop},
    EnumRow<AfterPause>{LAMINA_AFTER_RESUME, AfterPause::kResume},
    EnumRow<AfterPause>{LAMINA_AFTER_STAY, AfterPause::kStay}};

template <>
inline constexpr std::array kEnumRows<PausePlace> = {
    EnumRow<PausePlace>{LAMINA_PLACE_DISK, PausePlace::kDisk},
    EnumRow<PausePlace>{LAMINA_PLACE_MEMORY, PausePlace::kMemory}};

template <>
inline constexpr std::array kEnumRows<ResumeMode> = {
    EnumRow<ResumeMode>{LAMINA_RESUME_AUTO, ResumeMode::kAuto},
    EnumRow<ResumeMode>{LAMINA_RESUME_PAGE_FAULTS, ResumeMode::kPageFaults},
    EnumRow<ResumeMode>{LAMINA_RESUME_FILE, ResumeMode::kFile}};

template <>
inline constexpr std::array kEnumRows<Populate> = {
    EnumRow<Populate>{LAMINA_POPULATE_NONE, Populate::kNone},
    EnumRow<Populate>{LAMINA_POPULATE_WORKING_SET, Populate::kWorkingSet},
    EnumRow<Populate>{LAMINA_POPULATE_ALL, Populate::kAll},
    EnumRow<Populate>{LAMINA_POPULATE_DEFAULT, Populate::kWorkingSet}};

template <>
inline constexpr std::array kEnumRows<PackCodec> = {
    EnumRow<PackCodec>{LAMINA_CODEC_ZSTD, PackCodec::kZstd},
    EnumRow<PackCodec>{LAMINA_CODEC_LZ4, PackCodec::kLz4},
    EnumRow<PackCodec>{LAMINA_CODEC_NONE, PackCodec::kNone}};

template <>
inline constexpr std::array kEnumRows<StoreServer> = {
    EnumRow<StoreServer>{LAMINA_PAGE_SERVER_NONE, StoreServer::kNone},
    EnumRow<StoreServer>{LAMINA_PAGE_SERVER_SILENT, StoreServer::kSilent},
    EnumRow<StoreServer>{LAMINA_PAGE_SERVER_BUSY, StoreServer::kBusy},
    EnumRow<StoreServer>{LAMINA_PAGE_SERVER_SERVES, StoreServer::kServes},
    EnumRow<StoreServer>{LAMINA_PAGE_SERVER_CANNOT_SERVE, StoreServer::kCannotServe}};

/// Whether each value that has a word has a row too, and 0 is a valid number.
template <typename E>
consteval bool has_all_rows() {
  for (const Word<E>& word : kWords<E>) {
    bool found = false;
    for (const EnumRow<E>& row : kEnumRows<E>) found = found || row.value == word.value;
    if (!found) return false;
  }
  for (const EnumRow<E>& row : kEnumRows<E>) {
    if (row.number == 0) return true;
  }
  return false;
}
static_assert(has_all_rows<MemoryFileKind>() && has_all_rows<Layout>() && has_all_rows<Zeros>() &&
              has_all_rows<Dedup>() && has_all_rows<HeaderFormat>() && has_all_rows<HugePages>() &&
              has_all_rows<CompactOutcome>() && has_all_rows<Reflink>() &&
              has_all_rows<PendingKind>() && has_all_rows<AfterPause>() &&
              has_all_rows<PausePlace>() && has_all_rows<ResumeMode>() &&
              has_all_rows<Populate>() && has_all_rows<PackCodec>() && has_all_rows<StoreServer>());

/// The number of `value`; UINT32_MAX if it has none, which the tables exclude.
template <typename E>
constexpr std::uint32_t number_of(E value) {
  for (const EnumRow<E>& row : kEnumRows<E>) {
    if (row.value == value) return row.number;
  }
  return UINT32_MAX;
}

/// The value of `number`; nullopt if there is none.
template <typename E>
constexpr std::optional<E> enum_of(std::uint32_t number) {
  for (const EnumRow<E>& row : kEnumRows<E>) {
    if (row.number == number) return row.value;
  }
  return std::nullopt;
}

}  // namespace lamina::capi
