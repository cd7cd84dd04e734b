#include "aftermath.h"

#include <fcntl.h>

#include <algorithm>

#include "base/error.h"
#include "lamina/lifecycle.h"
#include "lamina/verify.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/sparse_file.h"
#include "store/snapshot_directory.h"

namespace lamina::torture {
namespace {

bool exists(const std::string& path) { return os::name_exists(AT_FDCWD, path); }

Status verified(const std::string& snapshot) {
  VerifyOptions options;
  options.snapshot = snapshot;
  LAMINA_ASSIGN_OR_RETURN(const VerifyReport report, verify(options));
  if (report.is_intact()) return {};
  return fail(ErrorKind::kFailed, "verify of '{}': {}", snapshot,
              report.problems.empty() ? "not intact" : report.problems.front());
}

Status same_bytes(const std::string& what, const std::string& found, const std::string& expected) {
  if (found.size() != expected.size()) {
    return fail(ErrorKind::kFailed, "{} has {} bytes, not {}", what, found.size(), expected.size());
  }
  if (found == expected) return {};
  const auto different = std::mismatch(found.begin(), found.end(), expected.begin()).first;
  return fail(ErrorKind::kFailed, "{} is wrong from byte {} on", what, different - found.begin());
}

/// The blocks of a file that has holes where all else of `contents` is zeros.
Result<std::vector<ByteRange>> extents_of(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  return os::written_ranges(file.fd.get(), file.facts.size_bytes, path);
}

}  // namespace

Status Aftermath::check_snapshot(const std::string& name, const Memory& memory) const {
  const std::string path = stage_.snapshot(name);
  LAMINA_RETURN_IF_ERROR(verified(path));
  LAMINA_ASSIGN_OR_RETURN(const Memory found, memory_of(stage_, path));
  return same_bytes("the memory of " + name, found, memory);
}

Result<Found> Aftermath::look_at_target(const Progress& progress) const {
  const Expectation& expected = stage_.expected;
  const std::string path = stage_.snapshot(expected.target);
  if (!exists(path)) {
    if (!expected.after) return Found::kAfter;
    if (!expected.before && !progress.done) return Found::kBefore;
    return fail(ErrorKind::kFailed, "'{}' is not there", expected.target);
  }
  if (!expected.after && progress.done) {
    return fail(ErrorKind::kFailed, "'{}' is there, though its removal was acknowledged",
                expected.target);
  }
  const Status whole = verified(path);
  if (!whole) {
    if (!expected.readable_before && !progress.done) return Found::kBefore;
    return std::unexpected(whole.error());
  }
  LAMINA_ASSIGN_OR_RETURN(const Memory found, memory_of(stage_, path));
  if (expected.before == expected.after) {
    LAMINA_RETURN_IF_ERROR(same_bytes("the memory of " + expected.target, found, *expected.after));
    return look_at_layers(progress);
  }
  if (expected.after && found == *expected.after) return Found::kAfter;
  if (expected.before && found == *expected.before) {
    if (!progress.done) return Found::kBefore;
    return fail(ErrorKind::kFailed, "'{}' has its old memory, though the new was acknowledged",
                expected.target);
  }
  return fail(ErrorKind::kFailed, "'{}' has neither its old memory nor its new", expected.target);
}

Result<Found> Aftermath::look_at_layers(const Progress& progress) const {
  const Expectation& expected = stage_.expected;
  const std::size_t layers = layer_count(stage_.snapshot(expected.target));
  const bool is_after = expected.layers_after == 0 || layers <= expected.layers_after;
  if (progress.done && !progress.again && !is_after) {
    return fail(ErrorKind::kFailed, "'{}' has its old layers, though the merge was acknowledged",
                expected.target);
  }
  return is_after && expected.readable_before ? Found::kAfter : Found::kBefore;
}

Status Aftermath::look_at_out(const Progress& progress) const {
  const Expectation& expected = stage_.expected;
  if (expected.out.empty()) return {};
  if (!exists(stage_.file(expected.out))) {
    if (!progress.done) return {};
    return fail(ErrorKind::kFailed, "'{}' is not there", expected.out);
  }
  LAMINA_ASSIGN_OR_RETURN(const std::string found, contents_of(stage_.file(expected.out)));
  return same_bytes("the file " + expected.out, found, *expected.after);
}

Status Aftermath::look_at_working_set() const {
  const Expectation& expected = stage_.expected;
  if (expected.working_sets.empty()) return {};
  LAMINA_ASSIGN_OR_RETURN(const std::string found, contents_of(stage_.snapshot(expected.target) +
                                                               "/" + store::kWorkingSetName));
  const auto& sets = expected.working_sets;
  if (std::find(sets.begin(), sets.end(), found) != sets.end()) return {};
  return fail(ErrorKind::kFailed, "the working set is neither the old nor the new one");
}

Result<Found> Aftermath::look(const Progress& progress) {
  for (const auto& [name, memory] : stage_.expected.others) {
    LAMINA_RETURN_IF_ERROR(check_snapshot(name, memory));
  }
  LAMINA_RETURN_IF_ERROR(look_at_out(progress));
  LAMINA_RETURN_IF_ERROR(look_at_working_set());
  if (stage_.expected.target.empty()) return progress.done ? Found::kAfter : Found::kBefore;
  return look_at_target(progress);
}

Status Aftermath::recover_store() {
  RecoverOptions options;
  options.store = stage_.store;
  const auto recovered = recover(options);
  if (!recovered) {
    // A store that has never been used is none.
    if (recovered.error().kind == ErrorKind::kNotFound && !exists(stage_.store + "/.pending")) {
      return {};
    }
    return std::unexpected(with_context("recover", recovered.error()));
  }
  if (recovered->queued == 0) return {};
  return fail(ErrorKind::kFailed, "recover leaves a pause queued: {}",
              recovered->notes.empty() ? "" : recovered->notes.back());
}

Result<Found> Aftermath::recover_once() {
  LAMINA_RETURN_IF_ERROR(recover_store());
  return look({});
}

Status Aftermath::look_at_memory_file(Found found) const {
  const Expectation& expected = stage_.expected;
  if (expected.memory_file.empty()) return {};
  const std::string path = stage_.file(expected.memory_file);
  if (found == Found::kAfter) {
    if (expected.may_stay || !exists(path)) return {};
    return fail(ErrorKind::kFailed, "the memory file is published and in its place");
  }
  if (!exists(path)) return fail(ErrorKind::kFailed, "the memory file is gone");
  LAMINA_ASSIGN_OR_RETURN(const std::string contents, contents_of(path));
  LAMINA_RETURN_IF_ERROR(same_bytes("the memory file", contents, expected.memory_file_contents));
  if (!expected.holes_matter) return {};
  LAMINA_ASSIGN_OR_RETURN(const auto extents, extents_of(path));
  if (extents == stage_.memory_file_extents) return {};
  return fail(ErrorKind::kFailed, "the memory file has other holes");
}

Status Aftermath::look_around(Found found) {
  LAMINA_RETURN_IF_ERROR(look_at_memory_file(found));
  // Until it has all of its areas it is no store, and the next writer makes it one.
  if (!exists(stage_.store + "/.pending")) return {};
  for (const char* area : {".tmp", ".pending", ".vms"}) {
    const std::string path = stage_.store + "/" + area;
    if (!exists(path)) continue;
    LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, path, path));
    LAMINA_ASSIGN_OR_RETURN(const auto names, os::list_directory(directory.get(), path));
    if (!names.empty()) return fail(ErrorKind::kFailed, "{} has '{}' still", area, names.front());
  }
  return {};
}

Status Aftermath::check(const Progress& progress) {
  const auto in = [](const char* when, const Error& error) {
    return std::unexpected(with_context(when, error));
  };
  const auto first = look(progress);
  if (!first) return in("at first", first.error());
  for (const char* time : {"the first recovery", "the second recovery"}) {
    if (const Status done = recover_store(); !done) return in(time, done.error());
  }
  // What had to be completed is there now, and what was there does not go.
  Progress since = progress;
  since.done = progress.done || progress.recorded ||
               (*first == Found::kAfter && !stage_.expected.repeatable);
  const auto second = look(since);
  if (!second) return in("recovered", second.error());
  if (const Status around = look_around(*second); !around) return in("recovered", around.error());
  if (scene_.has_vm) return {};
  const bool is_made = !stage_.expected.out.empty() && exists(stage_.file(stage_.expected.out));
  if ((*second == Found::kAfter && !stage_.expected.repeatable) || is_made) return {};
  if (const Status again = scene_.operate(stage_); !again) return in("once more", again.error());
  const auto third = look({true, true, false});
  if (!third) return in("done once more", third.error());
  if (const Status around = look_around(Found::kAfter); !around) {
    return in("done once more", around.error());
  }
  return {};
}

}  // namespace lamina::torture
