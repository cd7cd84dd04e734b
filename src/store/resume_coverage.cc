#include "store/resume_coverage.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <ctime>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "store/areas.h"
#include "store/snapshot_facts.h"

namespace lamina::store {
namespace {

constexpr std::uint64_t kMaxFileBytes = 4096;
/// What another process may have appended meanwhile.
constexpr std::uint64_t kMaxReadBytes = 16 * kMaxFileBytes;
/// 9999-12-31.
constexpr std::int64_t kMaxSeconds = 253'402'300'799;

std::string coverage_name(const StoreIdentity& store, const Uuid& pause_id) {
  return pause_id.to_string() + "@" + stable_name(store) + ".coverage";
}

/// Takes a word from the front of a line.
std::string_view take_word(std::string_view& line) {
  const std::size_t space = line.find(' ');
  const std::string_view word = line.substr(0, space);
  line = space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
  return word;
}

template <typename Number>
bool read_number(std::string_view word, Number& number) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc() && end == word.data() + word.size();
}

std::optional<ResumeCoverage> decode_line(std::string_view line) {
  ResumeCoverage coverage;
  std::int64_t seconds = 0;
  if (!read_number(take_word(line), seconds) || seconds < 0 || seconds > kMaxSeconds) return {};
  coverage.time = timestamp_of(seconds);
  const std::string_view how = take_word(line);
  if (how != "replayed" && how != "not") return {};
  coverage.was_replayed = how == "replayed";
  if (!read_number(take_word(line), coverage.used_blocks)) return {};
  if (!read_number(take_word(line), coverage.known_blocks) || !line.empty()) return {};
  if (coverage.known_blocks > coverage.used_blocks) return {};
  return coverage;
}

/// The last lines of a text, at most half of what the file may have.
std::string_view last_lines(std::string_view text) {
  std::string_view lines = text.substr(text.size() - std::min(text.size(), kMaxFileBytes / 2));
  if (lines.size() == text.size()) return lines;
  const std::size_t end = lines.find('\n');
  return end == std::string_view::npos ? std::string_view() : lines.substr(end + 1);
}

std::string text_of(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  return {begin, bytes.size()};
}

}  // namespace

std::vector<ResumeCoverage> decode_coverages(std::string_view text) {
  std::vector<ResumeCoverage> coverages;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) break;  // an unfinished line
    auto coverage = decode_line(text.substr(0, end));
    if (coverage) coverages.push_back(std::move(*coverage));
    text = text.substr(end + 1);
  }
  if (coverages.size() > kMaxCoverages) {
    coverages.erase(coverages.begin(),
                    coverages.end() - static_cast<std::ptrdiff_t>(kMaxCoverages));
  }
  return coverages;
}

Status add_coverage(int store, const std::string& path, const Uuid& pause_id,
                    const ResumeCoverage& coverage) {
  const std::string area_path = path + "/" + kCountsArea;
  LAMINA_ASSIGN_OR_RETURN(const StoreIdentity identity, identity_of(store, path));
  LAMINA_RETURN_IF_ERROR(os::make_directory(store, kCountsArea, area_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area, os::open_directory(store, kCountsArea, area_path));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), area_path));
  const std::string name = coverage_name(identity, pause_id);
  const std::string file_path = area_path + "/" + name;
  const std::string line =
      fmt::format("{} {} {} {}\n", std::time(nullptr), coverage.was_replayed ? "replayed" : "not",
                  coverage.used_blocks, coverage.known_blocks);
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile file,
      os::open_regular(area.get(), name, O_RDWR | O_APPEND | O_CREAT, file_path));
  if (file.facts.size_bytes + line.size() > kMaxFileBytes) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                            os::read_whole(file.fd.get(), kMaxReadBytes, file_path));
    const std::string text = text_of(bytes);
    const std::string kept = std::string(last_lines(text)) + line;
    return os::replace_file(area.get(), name + ".new", name, std::as_bytes(std::span(kept)),
                            file_path);
  }
  while (true) {
    const ssize_t written = ::write(file.fd.get(), line.data(), line.size());
    if (written >= 0) return {};  // a part is an unfinished line
    if (errno != EINTR) return system_failure("write", file_path, errno);
  }
}

std::vector<ResumeCoverage> last_coverages(int store, const StoreIdentity& identity,
                                           const Uuid& pause_id) {
  const auto area = os::open_directory(store, kCountsArea, kCountsArea);
  if (!area) return {};
  const auto bytes = os::read_if_exists(area->get(), coverage_name(identity, pause_id),
                                        kMaxReadBytes, kCountsArea);
  if (!bytes || !*bytes) return {};
  return decode_coverages(text_of(**bytes));
}

}  // namespace lamina::store
