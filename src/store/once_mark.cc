#include "store/once_mark.h"

#include <fcntl.h>

#include "base/error.h"
#include "base/escape.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "store/areas.h"
#include "store/snapshot_facts.h"

namespace lamina::store {
namespace {

constexpr std::uint64_t kMaxMarkBytes = 4096;

std::string mark_name(const Uuid& pause_id) { return pause_id.to_string() + "@once"; }

std::string counts_path(const Store& store) {
  return fmt::format("{}/{}", store.path(), kCountsArea);
}

std::string without_newline(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

Result<os::Fd> open_counts(const Store& store) {
  LAMINA_RETURN_IF_ERROR(os::make_directory(store.fd(), kCountsArea, counts_path(store)));
  LAMINA_ASSIGN_OR_RETURN(os::Fd area,
                          os::open_directory(store.fd(), kCountsArea, counts_path(store)));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), counts_path(store)));
  return area;
}

}  // namespace

Result<std::optional<std::string>> consumed_once(int store, const Uuid& pause_id) {
  const auto area = os::open_directory(store, kCountsArea, kCountsArea);
  if (!area) {
    if (area.error().kind == ErrorKind::kNotFound) return std::nullopt;
    return std::unexpected(area.error());
  }
  LAMINA_ASSIGN_OR_RETURN(const auto bytes, os::read_if_exists(area->get(), mark_name(pause_id),
                                                               kMaxMarkBytes, kCountsArea));
  if (!bytes) return std::nullopt;
  const std::string text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  return std::optional(text.empty() ? "by a resume that was cut short"
                                    : escaped_value(without_newline(text)));
}

Status consume_once(const Store& store, const Uuid& pause_id, const std::string& vm) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area, open_counts(store));
  const std::string name = mark_name(pause_id);
  const std::string path = counts_path(store) + "/" + name;
  const auto mark = os::open_at(area.get(), name, O_WRONLY | O_CREAT | O_EXCL, path);
  if (!mark && mark.error().kind == ErrorKind::kExists) {
    LAMINA_ASSIGN_OR_RETURN(const auto consumed, consumed_once(store.fd(), pause_id));
    return fail(ErrorKind::kExists, "pause {} may be resumed only once, and was {}",
                pause_id.to_string(), consumed.value_or("at the same time"));
  }
  if (!mark) return std::unexpected(mark.error());
  const std::string text = fmt::format("at {} by process {}\n", timestamp_now(), vm);
  const Status stored = [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(os::write_at(mark->get(), std::as_bytes(std::span(text)), 0, path));
    LAMINA_RETURN_IF_ERROR(os::sync(mark->get(), path));
    LAMINA_RETURN_IF_ERROR(os::sync(area.get(), counts_path(store)));
    return os::sync(store.fd(), store.path());
  }();
  // Nothing was resumed. If the mark cannot be removed it counts, as that of a killed resume does.
  if (!stored) static_cast<void>(os::remove_file(area.get(), name, path));
  return stored;
}

Status give_back_once(const Store& store, const Uuid& pause_id) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area, open_counts(store));
  const std::string name = mark_name(pause_id);
  LAMINA_RETURN_IF_ERROR(os::remove_file(area.get(), name, counts_path(store) + "/" + name));
  return os::sync(area.get(), counts_path(store));
}

}  // namespace lamina::store
