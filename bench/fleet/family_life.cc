#include "fleet/family_life.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <chrono>

#include "base/error.h"

namespace lamina::bench::fleet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kPagesPerResume = 16;  // that are compared

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

void Cost::add(const Cost& other) {
  append(pauses, other.pauses);
  append(merges, other.merges);
  append(opens, other.opens);
  append(forks, other.forks);
  append(removals, other.removals);
  append(layers, other.layers);
  dirtied_bytes += other.dirtied_bytes;
  layer_bytes += other.layer_bytes;
  header_bytes += other.header_bytes;
  merged_bytes += other.merged_bytes;
}

FamilyLife::FamilyLife(const Store& store, const Setting& setting, const Family& family,
                       std::size_t number)
    : store_(store),
      setting_(setting),
      family_(family),
      number_(number),
      random_(family.seed),
      template_(setting.pages),
      guests_(family.sandboxes.size()) {}

Status FamilyLife::begin() {
  template_.boot(random_);
  return store_full(store_.path_of(fmt::format("template-{}", number_)), template_);
}

Status FamilyLife::live_until(double time) {
  for (; next_event_ < family_.events.size() && family_.events[next_event_].time < time;
       ++next_event_) {
    LAMINA_RETURN_IF_ERROR(apply(family_.events[next_event_]));
  }
  return {};
}

Status FamilyLife::check() const {
  const auto compare = [](const std::string& path, const Guest& guest) -> Status {
    LAMINA_ASSIGN_OR_RETURN(const SnapshotReader reader, SnapshotReader::open(path));
    return guest.check(reader, 0, 1);
  };
  LAMINA_RETURN_IF_ERROR(compare(store_.path_of(fmt::format("template-{}", number_)), template_));
  for (std::size_t i = 0; i < guests_.size(); ++i) {
    if (guests_[i]) LAMINA_RETURN_IF_ERROR(compare(path_of(i), *guests_[i]));
  }
  return {};
}

void FamilyLife::add_values(std::vector<std::uint64_t>& values) const {
  append(values, template_.values());
  for (const std::optional<Guest>& guest : guests_) {
    if (guest) append(values, guest->values());
  }
}

std::size_t FamilyLife::living() const {
  std::size_t count = 1;
  for (const std::optional<Guest>& guest : guests_) count += guest ? 1 : 0;
  return count;
}

std::string FamilyLife::path_of(std::size_t sandbox) const {
  return store_.path_of(fmt::format("sandbox-{}-{}", number_, sandbox));
}

Status FamilyLife::apply(const Event& event) {
  switch (event.deed) {
    case Deed::kBirth:
      return give_birth(event.sandbox);
    case Deed::kPause:
      LAMINA_RETURN_IF_ERROR(resume(event.sandbox));
      return pause(event.sandbox);
    case Deed::kDeath:
      return remove(event.sandbox);
  }
  return {};
}

Status FamilyLife::give_birth(std::uint32_t sandbox) {
  std::vector<std::size_t> living;
  for (std::size_t i = 0; i < guests_.size(); ++i) {
    if (guests_[i]) living.push_back(i);
  }
  const std::uint64_t chosen = random_();
  switch (family_.sandboxes[sandbox].birth) {
    case Birth::kBooted:
      guests_[sandbox].emplace(setting_.pages);
      guests_[sandbox]->boot(random_);
      return store_full(path_of(sandbox), *guests_[sandbox]);
    case Birth::kFromSandbox:
      if (!living.empty()) {
        const std::size_t parent = living[chosen % living.size()];
        return fork_from(path_of(parent), *guests_[parent], sandbox);
      }
      break;  // it is the first of its family
    case Birth::kFromTemplate:
      break;
  }
  return fork_from(store_.path_of(fmt::format("template-{}", number_)), template_, sandbox);
}

Status FamilyLife::fork_from(const std::string& source, const Guest& memory,
                             std::uint32_t sandbox) {
  const auto start = Clock::now();
  LAMINA_RETURN_IF_ERROR(store_.fork({.snapshot = source, .fork = path_of(sandbox)}));
  cost_.forks.push_back(ms_since(start));
  guests_[sandbox] = memory;
  return {};
}

Status FamilyLife::resume(std::uint32_t sandbox) {
  const auto start = Clock::now();
  LAMINA_ASSIGN_OR_RETURN(const SnapshotReader reader, store_.read(path_of(sandbox)));
  cost_.opens.push_back(ms_since(start));
  cost_.layers.push_back(static_cast<std::uint32_t>(reader.info().layers.size()));
  const std::uint32_t step =
      setting_.verify_resumes ? 1 : std::max(setting_.pages / kPagesPerResume, 1U);
  return guests_[sandbox]->check(reader, static_cast<std::uint32_t>(random_() % step), step);
}

Status FamilyLife::pause(std::uint32_t sandbox) {
  Guest& guest = *guests_[sandbox];
  guest.run(*family_.sandboxes[sandbox].shape, random_);
  cost_.dirtied_bytes += guest.dirty_pages() * 4096;
  const std::string file = fmt::format("{}/memory-{}", setting_.directory, number_);
  LAMINA_RETURN_IF_ERROR(guest.write_file(file, /*full=*/false));
  IngestOptions options;
  options.memory_file = file;
  options.snapshot = path_of(sandbox);
  options.parent = path_of(sandbox);
  options.kind = MemoryFileKind::kDiff;
  options.zeros = Zeros::kWritten;
  options.consume = true;
  options.replace = true;
  const auto start = Clock::now();
  LAMINA_ASSIGN_OR_RETURN(const IngestReport report, store_.ingest(options));
  cost_.pauses.push_back(ms_since(start));
  cost_.layer_bytes += report.layer_allocated_bytes;
  count_headers(path_of(sandbox));
  return merge(path_of(sandbox));
}

Status FamilyLife::store_full(const std::string& path, Guest& guest) {
  cost_.dirtied_bytes += guest.dirty_pages() * 4096;
  const std::string file = fmt::format("{}/memory-{}", setting_.directory, number_);
  LAMINA_RETURN_IF_ERROR(guest.write_file(file, /*full=*/true));
  IngestOptions options;
  options.memory_file = file;
  options.snapshot = path;
  options.consume = true;
  LAMINA_ASSIGN_OR_RETURN(const IngestReport report, store_.ingest(options));
  cost_.layer_bytes += report.layer_allocated_bytes;
  count_headers(path);
  return {};
}

Status FamilyLife::merge(const std::string& path) {
  const auto start = Clock::now();
  LAMINA_ASSIGN_OR_RETURN(const CompactReport report,
                          store_.compact({.snapshot = path, .policy = setting_.policy}));
  if (report.outcome != CompactOutcome::kMerged) return {};
  cost_.merges.push_back(ms_since(start));
  cost_.merged_bytes += report.written_bytes;
  count_headers(path);
  return {};
}

Status FamilyLife::remove(std::uint32_t sandbox) {
  const auto start = Clock::now();
  LAMINA_ASSIGN_OR_RETURN(const RemoveReport report,
                          store_.remove({.snapshots = {path_of(sandbox)}}));
  if (const Error* error = report.first_error()) return std::unexpected(*error);
  cost_.removals.push_back(ms_since(start));
  guests_[sandbox].reset();
  return {};
}

void FamilyLife::count_headers(const std::string& path) {
  for (const char* name : {"/memfile.header", "/snapshot.json"}) {
    struct stat facts = {};
    if (stat((path + name).c_str(), &facts) == 0) {
      cost_.header_bytes += static_cast<std::uint64_t>(facts.st_size);
    }
  }
}

}  // namespace lamina::bench::fleet
