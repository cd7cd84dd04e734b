#include "remote/arrival_start.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/escape.h"
#include "base/utf8.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path_walk.h"
#include "store/areas.h"
#include "store/arrival.h"
#include "store/arrival_removal.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_use.h"

namespace lamina::remote {
namespace {

using store::Staging;

/// Blocks that need not be fetched: zeros, and those of layers that the store has.
void mark_present(store::ArrivalMap& map, const mapping::Mapping& mapping,
                  const std::set<Uuid>& arriving) {
  const auto ids = mapping.layers();
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const mapping::Extent extent = mapping.extent(i);
    const bool arrives =
        extent.layer != mapping::kZeros && arriving.contains(ids[extent.layer - 1U]);
    if (!arrives) map.set_blocks({extent.guest_block, extent.block_count}, true);
  }
}

/// The fetcher runs in another directory.
std::string absolute(const std::string& path) {
  return path.empty() ? path : os::real_path(path).value_or(path);
}

}  // namespace

Status check_recorded(const LazyPullOptions& options) {
  const auto check = [](const char* what, const std::string& text) -> Status {
    if (is_utf8(text)) return {};
    return with_remedy(fail(ErrorKind::kUsage,
                            "the {} '{}' is not UTF-8, so what fetches the rest could not use it",
                            what, escaped_line(text)),
                       "give a name that is");
  };
  LAMINA_RETURN_IF_ERROR(check("URL", options.pull.url));
  LAMINA_RETURN_IF_ERROR(check("key file", absolute(options.pull.key_file)));
  LAMINA_RETURN_IF_ERROR(check("key command", options.pull.key_command));
  for (const std::string& word : options.fetch_command) {
    LAMINA_RETURN_IF_ERROR(check("fetch command", word));
  }
  return {};
}

void ArrivalStart::drop_pin(Bucket& bucket) {
  if (protection_) protection_->drop(bucket);
  protection_.reset();
}

Status ArrivalStart::publish(const store::Store& store, Staging& snapshot, Bucket& bucket,
                             const Manifest& manifest, std::span<const std::byte> record_bytes,
                             const std::string& name, const std::vector<ArrivingFile>& layers) {
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot opened,
                          store::open_snapshot(snapshot.path(), engine::Checksums::kSkip));
  store::ArrivalFacts facts;
  facts.id = Uuid::random();
  facts.belongs_to = store.identity();
  facts.name = name;
  facts.url = options_.pull.url;
  facts.bucket_name = bucket.store().name_of("");
  facts.remote_name = options_.pull.name;
  facts.number = manifest.record.place.number;
  facts.pause_id = manifest.record.pause_id;
  facts.push_id = protection_->push_id();
  facts.key_file = absolute(options_.pull.key_file);
  facts.key_command = options_.pull.key_command;
  facts.fetch_command = options_.fetch_command;
  facts.wait_limit = options_.wait_limit;
  std::set<Uuid> arriving;
  std::uint32_t frames = 0;
  for (const ArrivingFile& layer : layers) {
    facts.layers.push_back(layer.name);
    frames += layer.reader->frame_count();
    arriving.insert(layer.reader->index().trailer.build_id);
  }
  LAMINA_ASSIGN_OR_RETURN(Staging arrival,
                          Staging::create(store, store::Area::kTemporary, facts.id));
  const std::string text = store::encode_arrival_facts(facts);
  LAMINA_RETURN_IF_ERROR(os::write_new_file(arrival.fd(), store::kArrivalFactsName,
                                            std::as_bytes(std::span(text)),
                                            arrival.file_path(store::kArrivalFactsName)));
  LAMINA_RETURN_IF_ERROR(os::write_new_file(arrival.fd(), store::kArrivalRecordName, record_bytes,
                                            arrival.file_path(store::kArrivalRecordName)));
  LAMINA_ASSIGN_OR_RETURN(store::ArrivalMap map,
                          store::ArrivalMap::make(arrival.fd(), arrival.path(),
                                                  opened.header.mapping.block_count(), frames));
  mark_present(map, opened.header.mapping, arriving);
  LAMINA_RETURN_IF_ERROR(map.sync());
  LAMINA_RETURN_IF_ERROR(store::write_arrival_marker(snapshot.fd(), snapshot.path(), facts.id));
  LAMINA_RETURN_IF_ERROR(snapshot.move_to(arrival.fd(), store::kArrivalSnapshotName,
                                          arrival.file_path(store::kArrivalSnapshotName)));
  // Nobody has resumed from it yet.
  LAMINA_ASSIGN_OR_RETURN(os::LockedFd hold, store::hold_arrival(arrival.fd(), arrival.path()));
  // The second one holds the snapshot when it is whole.
  LAMINA_ASSIGN_OR_RETURN(os::LockedFd use,
                          store::share_snapshot_use(snapshot.fd(), snapshot.path()));
  hold_ = std::make_shared<std::pair<os::LockedFd, os::LockedFd>>(std::move(hold), std::move(use));
  bool made = false;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area,
                          store::make_area(store.fd(), store.path(), store::kArrivingArea, made));
  const std::string area_path = fmt::format("{}/{}", store.path(), store::kArrivingArea);
  LAMINA_RETURN_IF_ERROR(
      arrival.move_to(area.get(), facts.id.to_string(), area_path + "/" + facts.id.to_string()));
  protection_.reset();
  LAMINA_RETURN_IF_ERROR(os::sync(area.get(), area_path));
  return made ? os::sync(store.fd(), store.path()) : Status();
}

}  // namespace lamina::remote
