#include "remote/fetcher.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "format/working_set.h"
#include "object_store/poller.h"
#include "os/directory.h"
#include "os/file.h"
#include "remote/arrival_end.h"
#include "remote/arriving_layer.h"
#include "remote/bucket.h"
#include "remote/fetch_clients.h"
#include "remote/hedged_read.h"
#include "remote/hedging.h"
#include "remote/manifest.h"
#include "remote/pack_ranges.h"
#include "remote/pull_protection.h"
#include "remote/requests.h"
#include "store/late_request_count.h"
#include "store/store.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::ObjectStore;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kStep{200};
constexpr std::chrono::milliseconds kFirstBackoff{100};
constexpr std::chrono::milliseconds kLongestBackoff{5000};
/// A quarter of the time after which a pin expires.
constexpr std::chrono::hours kPullPinRenewal{6};
/// What is counted is stored that often, so that little is lost with a fetcher that is killed.
constexpr std::chrono::seconds kLateCountInterval{1};
/// Bytes of one request for blocks that somebody waits for, with their neighbours; and of others.
constexpr std::uint64_t kUrgentBytes = std::uint64_t{256} << 10;
constexpr std::uint64_t kBackgroundBytes = std::uint64_t{2} << 20;
/// A page of 2 MiB: nobody waits for more at once.
constexpr std::uint32_t kMaxAskedBlocks = 512;
constexpr std::size_t kUrgentFlights = 16;
/// Fewer while somebody waits, because they share the connection's bandwidth.
constexpr std::size_t kBackgroundFlights = 4;
constexpr std::size_t kBackgroundFlightsBesideUrgent = 1;
constexpr std::size_t kPackFlights = 4;
/// A block whose range of the pack has been under way for that long is fetched from its layer too.
constexpr std::chrono::milliseconds kPackPatience{1000};
/// Then the layers are fetched without it: nothing may depend on a pack.
constexpr int kMaxPackFailures = 3;

/// Longer after each failure in a row.
class Backoff {
 public:
  void after_failure() {
    end_ = Clock::now() + delay_;
    delay_ = std::min(2 * delay_, kLongestBackoff);
  }
  void after_success() { delay_ = kFirstBackoff; }
  [[nodiscard]] bool is_waiting() const { return Clock::now() < end_; }
  [[nodiscard]] Clock::time_point end() const { return end_; }

 private:
  Clock::time_point end_{};
  std::chrono::milliseconds delay_ = kFirstBackoff;
};

/// Frames of all layers have one sequence of numbers: those of the map.
struct FetchedLayer {
  ArrivingLayer layer;
  std::string key;
  std::uint32_t first_frame = 0;
  mapping::LayerIndex index = mapping::kZeros;  ///< in the header

  [[nodiscard]] std::uint32_t end_frame() const {
    return first_frame + layer.reader().frame_count();
  }
};

struct FrameFlight {
  FetchedLayer* layer = nullptr;
  std::uint32_t first = 0;  ///< in the layer
  std::uint32_t end = 0;
  bool is_urgent = false;
  std::vector<std::uint32_t> awaited;  ///< frames, in the layer, that somebody waits for
  Clock::time_point start{};
  std::uint64_t number = 0;  ///< in flights_
  std::optional<HedgedRead> read{};
};

/// A range of the pack.
enum class PackRangeState : std::uint8_t { kMissing, kFlying, kEnded };

struct PackFlight {
  std::uint32_t range = 0;
  std::vector<std::byte> bytes;
  Clock::time_point start{};
  ObjectStore::RequestId id = 0;
};

class Fetcher {
 public:
  Fetcher(ObjectStore& store, store::Arrival& arrival, packed::KeyWrapper* tenant,
          Progress* progress)
      : store_(store),
        bucket_(store, progress),
        arrival_(arrival),
        tenant_(tenant),
        progress_(progress),
        late_count_(arrival.store) {}
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;
  Fetcher(Fetcher&&) = delete;
  Fetcher& operator=(Fetcher&&) = delete;
  ~Fetcher() {
    flights_.clear();  // gives up what is under way
    static_cast<void>(late_count_.store(late_requests_));
    for (const auto& [id, flight] : pack_flights_) store_.cancel(id);
    if (is_renewing_) store_.cancel(renewal_);
  }

  Result<FetchReport> run() {
    report_.name = arrival_.facts.name;
    LAMINA_RETURN_IF_ERROR(read_manifest());
    LAMINA_RETURN_IF_ERROR(open_layers());
    LAMINA_RETURN_IF_ERROR(check_after_boot());
    LAMINA_ASSIGN_OR_RETURN(poller_, object_store::Poller::create());
    LAMINA_RETURN_IF_ERROR(poller_->watch(store_.poll_fd(), true, false));
    LAMINA_ASSIGN_OR_RETURN(
        clients_, FetchClients::listen(*poller_, arrival_.file_path(store::kArrivalSocketName)));
    open_pack();
    begin_progress();
    while (true) {
      LAMINA_RETURN_IF_ERROR(fetch_all());
      LAMINA_ASSIGN_OR_RETURN(const bool is_whole, check_whole());
      if (is_whole) break;
    }
    LAMINA_ASSIGN_OR_RETURN(report_.snapshot, publish_arrived(arrival_, report_.notes));
    clients_->tell_all();
    report_.late_requests = late_requests_;
    note_late_requests();
    // The manifest protects the objects, or nothing needs them. A pin that stays expires. Its
    // renewal must have ended, or it would bring the pin back.
    static_cast<void>(bucket_.wait_until([this] { return !is_renewing_; }));
    static_cast<void>(bucket_.remove(pin_key(arrival_.facts.push_id)));
    return std::move(report_);
  }

 private:
  Status read_manifest() {
    const std::string path = arrival_.file_path(store::kArrivalRecordName);
    LAMINA_ASSIGN_OR_RETURN(
        const os::OpenedFile opened,
        os::open_regular(arrival_.directory.get(), store::kArrivalRecordName, O_RDONLY, path));
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                            os::read_whole(opened.fd.get(), kMaxRecordBytes, path));
    LAMINA_ASSIGN_OR_RETURN(
        manifest_,
        decode_manifest(bytes, {arrival_.facts.remote_name, arrival_.facts.number}, tenant_));
    return {};
  }

  [[nodiscard]] Result<const ManifestFile*> file_of(const std::string& name) const {
    const auto found = std::ranges::find(manifest_.files, name, &ManifestFile::name);
    if (found == manifest_.files.end() || found->storage != FileStorage::kLayer) {
      return fail(ErrorKind::kCorrupt, "'{}': its manifest has no layer '{}'", arrival_.path, name);
    }
    return &*found;
  }

  /// The index of an object, if it is not in the manifest.
  Result<std::vector<std::byte>> fetch_index_of(const StoredObject& object) {
    std::vector<std::byte> index;
    if (!object.index.empty()) return index;
    const Reference& reference = manifest_.reference_of(object);
    LAMINA_ASSIGN_OR_RETURN(const packed::ObjectFooter footer,
                            packed::decode_object_footer(object.footer, reference.size_bytes));
    Answer answer =
        bucket_.get_range(reference.key, {footer.index_range().offset, footer.index_bytes});
    LAMINA_RETURN_IF_ERROR(strict_status(answer));
    return std::move(answer.bytes);
  }

  Status open_layers() {
    LAMINA_ASSIGN_OR_RETURN(
        snapshot_, store::open_snapshot(arrival_.snapshot_path(), engine::Checksums::kSkip));
    const auto ids = snapshot_->header.mapping.layers();
    layers_.reserve(arrival_.facts.layers.size());
    std::uint32_t frame = 0;
    for (const std::string& name : arrival_.facts.layers) {
      LAMINA_ASSIGN_OR_RETURN(const ManifestFile* file, file_of(name));
      LAMINA_ASSIGN_OR_RETURN(const auto index, fetch_index_of(file->object));
      LAMINA_ASSIGN_OR_RETURN(packed::PackReader reader, open_stored(manifest_, *file, index));
      const auto id = std::ranges::find(ids, reader.index().trailer.build_id);
      const std::string path = arrival_.snapshot_path() + "/" + name;
      if (id == ids.end()) {
        return fail(ErrorKind::kCorrupt, "'{}' is not a layer of its snapshot", path);
      }
      LAMINA_ASSIGN_OR_RETURN(
          os::OpenedFile opened,
          os::open_regular(snapshot_->directory.get(), name, O_RDWR | O_NOFOLLOW, path));
      LAMINA_ASSIGN_OR_RETURN(ArrivingLayer layer,
                              ArrivingLayer::create(std::move(reader), std::move(opened.fd), path));
      const auto number = static_cast<mapping::LayerIndex>(id - ids.begin() + 1);
      layers_.push_back({std::move(layer), manifest_.reference_of(*file).key, frame, number});
      frame = layers_.back().end_frame();
    }
    if (frame != arrival_.map.frame_count() ||
        snapshot_->header.mapping.block_count() != arrival_.map.block_count()) {
      return fail(ErrorKind::kCorrupt, "'{}' does not fit its snapshot",
                  arrival_.file_path(store::kArrivalMapName));
    }
    is_flying_.assign(frame, false);
    return {};
  }

  FetchedLayer& layer_of(std::uint32_t frame) {
    const auto after = std::ranges::upper_bound(layers_, frame, {}, &FetchedLayer::first_frame);
    return *std::prev(after);
  }

  /// Marks a frame, and those of its blocks that the snapshot has from this layer. A frame becomes
  /// here before it counts, and ceases to count before it is not here.
  void mark(FetchedLayer& layer, std::uint32_t frame, bool is_here) {
    store::ArrivalMap& map = arrival_.map;
    if (!is_here) map.set_frame(layer.first_frame + frame, false);
    const mapping::Mapping& mapping = snapshot_->header.mapping;
    layer.layer.for_each_guest_run(frame, [&](const BlockRun& run) {
      for (std::uint32_t block = run.first; block < run.end();) {
        const mapping::Extent extent = mapping.resolve(block);
        const std::uint32_t count = std::min(extent.block_count, run.end() - block);
        if (extent.layer == layer.index) map.set_blocks({block, count}, is_here);
        block += count;
      }
    });
    if (is_here) map.set_frame(layer.first_frame + frame, true);
  }

  /// After another boot the map may be on the disk, and what it says is here not.
  Status check_after_boot() {
    LAMINA_ASSIGN_OR_RETURN(const bool is_same, arrival_.map.is_of_this_boot());
    if (is_same) return {};
    LAMINA_RETURN_IF_ERROR(check_frames(0, arrival_.map.frame_count()));
    return arrival_.map.set_this_boot();
  }

  Status check_frames(std::uint32_t first, std::uint32_t end) {
    for (std::uint32_t frame = first; frame < end; ++frame) {
      LAMINA_RETURN_IF_ERROR(not_interrupted());
      FetchedLayer& layer = layer_of(frame);
      LAMINA_ASSIGN_OR_RETURN(const bool is_here, layer.layer.is_here(frame - layer.first_frame));
      mark(layer, frame - layer.first_frame, is_here);
    }
    return {};
  }

  /// A pack is optional: without it, the frames of the working set come first.
  void open_pack() {
    if (!manifest_.pack || arrival_.map.frames_here() == arrival_.map.frame_count()) return;
    const StoredObject& object = manifest_.pack->object;
    auto opened = [&]() -> Result<PackRanges> {
      LAMINA_ASSIGN_OR_RETURN(const auto index, fetch_index_of(object));
      return PackRanges::open(manifest_, index);
    }();
    if (!opened) return give_up_pack(opened.error());
    pack_ = std::move(*opened);
    pack_states_.assign(pack_->count(), PackRangeState::kMissing);
  }

  void give_up_pack(const Error& why) {
    report_.notes.push_back(
        fmt::format("the pack of the working set is not used: {}", one_line(why)));
    std::ranges::fill(pack_states_, PackRangeState::kEnded);
    if (pack_) tell_of_pack();
  }

  /// Whoever waits for a range of the pack asks again.
  void tell_of_pack() {
    std::set<std::uint32_t> ended;
    for (std::uint32_t range = 0; range < pack_states_.size(); ++range) {
      if (pack_states_[range] == PackRangeState::kEnded) ended.insert(number_of_range(range));
    }
    clients_->tell_arrived(ended);
  }

  /// Ranges of the pack have the numbers behind those of the frames.
  [[nodiscard]] std::uint32_t number_of_range(std::uint32_t range) const {
    return arrival_.map.frame_count() + range;
  }

  /// The range of the pack that will bring a block soon; nullopt: none, or it is late, and the
  /// block is better fetched from its layer too.
  std::optional<std::uint32_t> pack_range_for(std::uint32_t block) {
    if (!pack_) return std::nullopt;
    const auto range = pack_->find(block);
    if (!range || pack_states_[*range] == PackRangeState::kEnded) return std::nullopt;
    if (pack_states_[*range] == PackRangeState::kMissing) return range;
    const auto flight = std::ranges::find(pack_flights_, *range,
                                          [](const auto& entry) { return entry.second->range; });
    const bool is_late = Clock::now() - flight->second->start > kPackPatience;
    return is_late ? std::nullopt : range;
  }

  void start_pack_flights() {
    while (!pack_asked_.empty()) {
      const std::uint32_t range = pack_asked_.front();
      pack_asked_.pop_front();
      start_pack_flight(range, true);
    }
    for (; next_pack_range_ < pack_states_.size() && pack_flights_.size() < kPackFlights;
         ++next_pack_range_) {
      start_pack_flight(next_pack_range_, false);
    }
    if (is_planned_ || next_pack_range_ < pack_states_.size() || !pack_flights_.empty()) return;
    is_planned_ = true;
    plan_working_set();
  }

  void start_pack_flight(std::uint32_t range, bool is_urgent) {
    if (pack_states_[range] != PackRangeState::kMissing) return;
    const std::vector<BlockRun> runs = pack_->runs_of(range);
    const auto is_here = [&](const BlockRun& run) { return arrival_.map.has_blocks(run); };
    if (std::ranges::all_of(runs, is_here)) {
      pack_states_[range] = PackRangeState::kEnded;
      clients_->tell_arrived({number_of_range(range)});
      return;
    }
    auto flight = std::make_unique<PackFlight>();
    flight->range = range;
    flight->start = Clock::now();
    const ByteRange bytes = pack_->bytes_of(range);
    flight->bytes.resize(bytes.length);
    object_store::Request request = get_request(pack_->key(), bytes.length);
    request.range = {bytes.offset, bytes.length};
    request.buffer = flight->bytes;
    request.is_urgent = is_urgent;
    pack_states_[range] = PackRangeState::kFlying;
    PackFlight* const place = flight.get();
    place->id = store_.start(std::move(request),
                             [this, place](const Answer& answer) { land_pack(*place, answer); });
    pack_flights_.emplace(place->id, std::move(flight));
  }

  void land_pack(PackFlight& flight, const Answer& answer) {
    const std::unique_ptr<PackFlight> landed = std::move(pack_flights_.at(flight.id));
    pack_flights_.erase(landed->id);
    PackRangeState& state = pack_states_[landed->range];
    if (state == PackRangeState::kEnded) return;  // the pack was given up meanwhile
    const Status placed = place_pack(*landed, answer);
    if (placed) {
      state = PackRangeState::kEnded;
      pack_failures_ = 0;
      fetches_.after_success();
      report_.fetched_bytes += landed->bytes.size();
      if (progress_ != nullptr) progress_->advance(landed->bytes.size());
      clients_->tell_arrived({number_of_range(landed->range)});
      return;
    }
    state = PackRangeState::kMissing;
    next_pack_range_ = std::min(next_pack_range_, landed->range);
    // Ranges that fail together are one failure.
    if (!fetches_.is_waiting()) ++pack_failures_;
    const bool is_useless =
        answer.outcome == object_store::Outcome::kAbsent || pack_failures_ > kMaxPackFailures;
    if (is_useless) {
      give_up_pack(placed.error());
    } else {
      fetches_.after_failure();
    }
  }

  Status place_pack(const PackFlight& flight, const Answer& answer) {
    LAMINA_RETURN_IF_ERROR(strict_status(answer));
    return contain("pack", [&] {
      return pack_->decode(flight.range, flight.bytes,
                           [this](BlockRun run, std::span<const std::byte> blocks,
                                  std::span<const std::uint64_t> checksums) {
                             const Status placed = place_pack_run(run, blocks, checksums);
                             // What the disk refuses is not the bucket's fault.
                             if (!placed) disk_failure_ = placed;
                             return placed;
                           });
    });
  }

  /// Each block at its place in the layer that the snapshot has it from. Its bit is set after that.
  Status place_pack_run(BlockRun run, std::span<const std::byte> blocks,
                        std::span<const std::uint64_t> checksums) {
    const mapping::Mapping& mapping = snapshot_->header.mapping;
    for (std::uint32_t block = run.first; block < run.end();) {
      const mapping::Extent extent = mapping.resolve(block);
      const std::uint32_t count = std::min(extent.block_count, run.end() - block);
      const auto layer = std::ranges::find(layers_, extent.layer, &FetchedLayer::index);
      if (layer != layers_.end() && !arrival_.map.has_blocks({block, count})) {
        const std::uint32_t skipped = block - run.first;
        LAMINA_RETURN_IF_ERROR(layer->layer.place_blocks(
            {block, count}, blocks.subspan(skipped * kBlockBytes, count * kBlockBytes),
            checksums.subspan(skipped, count)));
        arrival_.map.set_blocks({block, count}, true);
      }
      block += count;
    }
    return {};
  }

  /// The frames of the working set, in its order, as far as its blocks are not here. A working set
  /// is a hint.
  void plan_working_set() {
    const std::string path = arrival_.snapshot_path() + "/" + store::kWorkingSetName;
    const auto bytes = os::read_if_exists(snapshot_->directory.get(), store::kWorkingSetName,
                                          format::max_working_set_bytes(), path);
    if (!bytes || !*bytes) return;
    const auto decoded = format::decode_working_set(**bytes);
    if (!decoded) return;
    std::set<std::uint32_t> planned;
    for (const BlockRun& run : decoded->runs) {
      if (arrival_.map.has_blocks(run)) continue;
      for (std::uint32_t block = run.first; block < run.end(); ++block) {
        if (arrival_.map.has_blocks({block, 1})) continue;
        for (const std::uint32_t frame : missing_frames_of({block, 1})) {
          if (planned.insert(frame).second) soon_.push_back(frame);
        }
      }
    }
  }

  /// The frames that have blocks of `run`, and are not here.
  std::set<std::uint32_t> missing_frames_of(const BlockRun& run) {
    std::set<std::uint32_t> frames;
    const mapping::Mapping& mapping = snapshot_->header.mapping;
    const std::uint64_t end =
        std::min<std::uint64_t>(std::uint64_t{run.first} + run.count, mapping.block_count());
    for (std::uint64_t block = run.first; block < end;) {
      const mapping::Extent extent = mapping.resolve(static_cast<std::uint32_t>(block));
      const std::uint64_t extent_end = std::min<std::uint64_t>(end, extent.guest_end());
      const auto layer = std::ranges::find(layers_, extent.layer, &FetchedLayer::index);
      if (layer == layers_.end()) {
        block = extent_end;
        continue;
      }
      for (; block < extent_end; ++block) {
        const auto place = layer->layer.reader().find(static_cast<std::uint32_t>(block));
        if (!place) continue;
        const std::uint32_t frame = layer->first_frame + place->frame;
        if (!arrival_.map.has_frame(frame)) frames.insert(frame);
      }
    }
    return frames;
  }

  /// A request of a page server: the frames that it waits for.
  std::set<std::uint32_t> take_request(const store::BlockRequest& request) {
    const BlockRun run{request.run.first, std::min(request.run.count, kMaxAskedBlocks)};
    if (request.is_damaged) forget_damaged(run);
    std::set<std::uint32_t> frames;
    std::set<std::uint32_t> ranges;
    if (pack_ && !request.is_damaged) {
      for (std::uint64_t block = run.first; block < std::uint64_t{run.first} + run.count; ++block) {
        const BlockRun one{static_cast<std::uint32_t>(block), 1};
        if (arrival_.map.has_blocks(one)) continue;
        if (const auto range = pack_range_for(one.first)) {
          ranges.insert(*range);
        } else {
          frames.merge(missing_frames_of(one));
        }
      }
    } else {
      frames = missing_frames_of(run);
    }
    for (const std::uint32_t frame : frames) {
      if (is_flying_[frame]) {
        await(frame);
      } else if (urgent_.insert(frame).second) {
        urgent_order_.push_back(frame);
      }
    }
    for (const std::uint32_t range : ranges) {
      if (pack_states_[range] == PackRangeState::kMissing) pack_asked_.push_back(range);
      frames.insert(number_of_range(range));
    }
    return frames;
  }

  void await(std::uint32_t frame) {
    for (const auto& [number, flight] : flights_) {
      const std::uint32_t first = flight->layer->first_frame;
      if (frame < first + flight->first || frame >= first + flight->end) continue;
      const std::uint32_t own = frame - first;
      if (std::ranges::find(flight->awaited, own) == flight->awaited.end()) {
        flight->awaited.push_back(own);
      }
    }
  }

  /// Checks the frames that have blocks of `run`: those that are damaged are fetched again.
  void forget_damaged(const BlockRun& run) {
    const mapping::Mapping& mapping = snapshot_->header.mapping;
    const std::uint64_t end =
        std::min<std::uint64_t>(std::uint64_t{run.first} + run.count, mapping.block_count());
    for (std::uint64_t block = run.first; block < end; ++block) {
      const auto guest_block = static_cast<std::uint32_t>(block);
      const auto layer =
          std::ranges::find(layers_, mapping.resolve(guest_block).layer, &FetchedLayer::index);
      if (layer == layers_.end()) continue;
      const auto place = layer->layer.reader().find(guest_block);
      if (!place) continue;
      if (!arrival_.map.has_frame(layer->first_frame + place->frame)) {
        // A block of the pack. It comes again with its frame.
        arrival_.map.set_blocks({guest_block, 1}, false);
        continue;
      }
      const auto is_here = layer->layer.is_here(place->frame);
      if (!is_here || !*is_here) {
        mark(*layer, place->frame, false);
        cursor_ = 0;
        has_damage_ = true;
      }
    }
  }

  void begin_progress() {
    if (progress_ == nullptr) return;
    std::uint64_t bytes = 0;
    for (const FetchedLayer& layer : layers_) {
      for (std::uint32_t frame = 0; frame < layer.layer.reader().frame_count(); ++frame) {
        if (!arrival_.map.has_frame(layer.first_frame + frame)) {
          bytes += layer.layer.reader().frame_range(frame).length;
        }
      }
    }
    for (std::uint32_t range = 0; range < pack_states_.size(); ++range) {
      bytes += pack_->bytes_of(range).length;
    }
    progress_->begin("fetching", bytes);
  }

  [[nodiscard]] Status not_interrupted() const {
    if (progress_ == nullptr || !progress_->interrupted()) return {};
    return fail(ErrorKind::kInterrupted, "interrupted");
  }

  /// Until every frame is here.
  Status fetch_all() {
    while (true) {
      LAMINA_RETURN_IF_ERROR(not_interrupted());
      LAMINA_RETURN_IF_ERROR(renew_pin());
      LAMINA_RETURN_IF_ERROR(check_absent());
      LAMINA_RETURN_IF_ERROR(disk_failure_);
      start_flights();
      send_late_again();
      store_late_requests();
      if (flights_.empty() && pack_flights_.empty() && !fetches_.is_waiting() &&
          arrival_.map.frames_here() == is_flying_.size()) {
        return {};
      }
      LAMINA_ASSIGN_OR_RETURN(const auto ready, poller_->wait(time_to_wait()));
      for (const object_store::Poller::Ready& one : ready) {
        if (one.fd == store_.poll_fd()) continue;
        clients_->handle(
            one.fd, [this](const store::BlockRequest& request) { return take_request(request); });
      }
      LAMINA_RETURN_IF_ERROR(store_.advance(std::chrono::milliseconds(0)));
    }
  }

  [[nodiscard]] std::chrono::milliseconds time_to_wait() const {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(fetches_.end() - Clock::now());
    const std::chrono::milliseconds late = time_until_late();
    if (left.count() <= 0) return late;
    return std::min(late, left + std::chrono::milliseconds(1));
  }

  /// Until a request that somebody waits for is late, at most a step.
  [[nodiscard]] std::chrono::milliseconds time_until_late() const {
    Clock::duration time = kStep;
    const auto now = Clock::now();
    for (const auto& [number, flight] : flights_) {
      if (flight->awaited.empty() || flight->read->is_sent_again()) continue;
      const Clock::duration left = flight->start + hedging_.limit(flight->read->size()) - now;
      // One that is late already waits for the budget.
      if (left > Clock::duration::zero()) time = std::min(time, left);
    }
    return std::chrono::ceil<std::chrono::milliseconds>(time);
  }

  /// Its answer is not waited for, and its failures hold up nothing else: a bucket that cannot be
  /// written, or is away, would keep page servers waiting.
  Status renew_pin() {
    const auto now = Clock::now();
    const bool is_fresh = renewed_ && now - *renewed_ < kPullPinRenewal;
    if (is_renewing_ || is_fresh || renewals_.is_waiting()) return {};
    pin_bytes_ = encode_pull_pin(arrival_.facts.push_id, manifest_.record);
    object_store::Request request;
    request.operation = object_store::Operation::kPut;
    request.key = pin_key(arrival_.facts.push_id);
    request.body = pin_bytes_;
    is_renewing_ = true;
    renewal_ = store_.start(std::move(request), [this, now](const Answer& answer) {
      is_renewing_ = false;
      if (answer.ok()) {
        renewed_ = now;
        renewals_.after_success();
      } else {
        renewals_.after_failure();
      }
    });
    return {};
  }

  /// An object that is said to be absent, twice: what has not arrived never will.
  Status check_absent() {
    if (!absent_) return {};
    const std::string key = *std::exchange(absent_, std::nullopt);
    const Error absence = bucket_.absence_of(key);
    if (absence.kind != ErrorKind::kNotFound) return {};
    arrival_.map.set_state(store::ArrivalState::kLost);
    clients_->tell_all();
    return std::unexpected(
        with_context(fmt::format("'{}' cannot be fetched any more", arrival_.facts.name), absence));
  }

  void start_flights() {
    if (fetches_.is_waiting()) return;
    std::size_t urgent = 0;
    for (const auto& [number, flight] : flights_) urgent += flight->is_urgent ? 1U : 0U;
    while (!urgent_order_.empty() && urgent < kUrgentFlights) {
      const std::uint32_t frame = urgent_order_.front();
      urgent_order_.pop_front();
      urgent_.erase(frame);
      if (!is_missing(frame)) continue;
      start_flight(frame, kUrgentBytes, true);
      ++urgent;
    }
    if (arrival_.map.frames_here() < arrival_.map.frame_count()) start_pack_flights();
    if (!is_planned_) return;  // nothing else before the working set is here
    const std::size_t most = urgent > 0 ? kBackgroundFlightsBesideUrgent : kBackgroundFlights;
    while (flights_.size() - urgent < most) {
      const auto frame = next_in_background();
      if (!frame) return;
      start_flight(*frame, kBackgroundBytes, false);
    }
  }

  [[nodiscard]] bool is_missing(std::uint32_t frame) const {
    return !is_flying_[frame] && !arrival_.map.has_frame(frame);
  }

  std::optional<std::uint32_t> next_in_background() {
    for (; next_soon_ < soon_.size(); ++next_soon_) {
      if (is_missing(soon_[next_soon_])) return soon_[next_soon_];
    }
    for (; cursor_ < is_flying_.size(); ++cursor_) {
      if (is_missing(cursor_)) return cursor_;
    }
    return std::nullopt;
  }

  /// Fetches a frame, and the missing ones behind it in its layer, up to `bytes`.
  void start_flight(std::uint32_t frame, std::uint64_t bytes, bool is_urgent) {
    FetchedLayer& layer = layer_of(frame);
    const packed::PackReader& reader = layer.layer.reader();
    auto flight = std::make_unique<FrameFlight>();
    flight->layer = &layer;
    flight->is_urgent = is_urgent;
    flight->start = Clock::now();
    flight->first = frame - layer.first_frame;
    if (is_urgent) flight->awaited.push_back(flight->first);
    flight->end = flight->first;
    const std::uint64_t offset = reader.frame_range(flight->first).offset;
    std::uint64_t end = offset;
    do {
      is_flying_[layer.first_frame + flight->end] = true;
      end = reader.frame_range(flight->end).end();
      ++flight->end;
    } while (flight->end < reader.frame_count() && end - offset < bytes &&
             is_missing(layer.first_frame + flight->end));
    object_store::Request request = get_request(layer.key, end - offset);
    request.range = {offset, end - offset};
    request.is_urgent = is_urgent;
    flight->number = next_flight_++;
    FrameFlight* const place = flight.get();
    place->read.emplace(store_, std::move(request), end - offset, late_requests_,
                        [this, place](const Answer& answer) { land(*place, answer); });
    hedging_.count_request();
    flights_.emplace(place->number, std::move(flight));
  }

  /// A second request for what somebody waits for, and what takes longer than usual.
  void send_late_again() {
    if (fetches_.is_waiting()) return;  // the store has asked for fewer requests
    const auto now = Clock::now();
    for (const auto& [number, flight] : flights_) {
      if (flight->awaited.empty() || flight->read->is_sent_again()) continue;
      if (now - flight->start <= hedging_.limit(flight->read->size())) continue;
      if (!hedging_.take()) return;
      flight->read->send_again();
    }
  }

  /// A failure to count fails nothing else: it is repeated, and the end says so.
  void store_late_requests() {
    const auto now = Clock::now();
    if (now < next_late_count_) return;
    next_late_count_ = now + kLateCountInterval;
    static_cast<void>(late_count_.store(late_requests_));
  }

  void note_late_requests() {
    if (late_requests_.sent > 0) {
      report_.notes.push_back(
          fmt::format("late requests sent again: {}, of which {} were "
                      "answered by the second one, and {} were given up",
                      late_requests_.sent, late_requests_.won, late_requests_.given_up));
    }
    const Status counted = late_count_.store(late_requests_);
    if (counted) return;
    report_.notes.push_back(
        fmt::format("late requests are not counted: {}", one_line(counted.error())));
  }

  void land(FrameFlight& flight, const Answer& answer) {
    FetchedLayer& layer = *flight.layer;
    std::set<std::uint32_t> arrived;
    bool is_good = answer.ok();
    if (answer.outcome == object_store::Outcome::kAbsent) absent_ = layer.key;
    const packed::PackReader& reader = layer.layer.reader();
    const std::uint64_t offset = reader.frame_range(flight.first).offset;
    for (std::uint32_t frame = flight.first; frame < flight.end; ++frame) {
      const std::uint32_t number = layer.first_frame + frame;
      is_flying_[number] = false;
      if (!is_good) continue;
      const ByteRange range = reader.frame_range(frame);
      const Status placed = contain("frame", [&] {
        return layer.layer.place(frame,
                                 flight.read->bytes().subspan(range.offset - offset, range.length));
      });
      if (placed) {
        mark(layer, frame, true);
        arrived.insert(number);
        if (progress_ != nullptr) progress_->advance(range.length);
        report_.fetched_bytes += range.length;
        continue;
      }
      is_good = false;
      // Damaged on the way, perhaps. What the disk refuses is not the bucket's fault.
      if (placed.error().kind != ErrorKind::kCorrupt) disk_failure_ = placed;
    }
    if (is_good) {
      fetches_.after_success();
      hedging_.add_answer(Clock::now() - flight.start, flight.read->size());
    } else {
      fetches_.after_failure();
      ask_again(flight);
    }
    if (!arrived.empty()) clients_->tell_arrived(arrived);
    flights_.erase(flight.number);
  }

  /// What somebody waits for comes first, whatever the flight was begun for.
  void ask_again(const FrameFlight& flight) {
    const std::uint32_t first = flight.layer->first_frame;
    cursor_ = std::min(cursor_, first + flight.first);
    for (const std::uint32_t frame : flight.awaited) {
      if (!is_missing(first + frame) || !urgent_.insert(first + frame).second) continue;
      urgent_order_.push_front(first + frame);
    }
  }

  /// Syncs the layers, and checks their checksums. False: something must be fetched again.
  Result<bool> check_whole() {
    if (std::exchange(has_damage_, false)) {
      // Where one frame was damaged, others may be: nobody has read them yet.
      LAMINA_RETURN_IF_ERROR(check_frames(0, arrival_.map.frame_count()));
      cursor_ = 0;
      return false;
    }
    Status failure;
    for (FetchedLayer& layer : layers_) {
      const auto finished = layer.layer.finish();
      if (finished && *finished) continue;
      failure = finished ? fail(ErrorKind::kCorrupt,
                                "the checksums of the blocks of '{}' are not those that it had",
                                layer.layer.path())
                         : std::unexpected(finished.error());
      // After a failed sync the bytes of the file count as unwritten, also if they can be read.
      for (std::uint32_t frame = 0; frame < layer.layer.reader().frame_count(); ++frame) {
        mark(layer, frame, false);
      }
      cursor_ = 0;
    }
    // One trouble of a disk fails the syncs of all layers.
    if (!failure && ++failed_checks_ > kMaxFailedChecks) return std::unexpected(failure.error());
    return failure.has_value();
  }

  static constexpr int kMaxFailedChecks = 3;

  ObjectStore& store_;
  Bucket bucket_;
  store::Arrival& arrival_;
  packed::KeyWrapper* tenant_;
  Progress* progress_;
  FetchReport report_;
  Manifest manifest_;
  std::optional<store::OpenSnapshot> snapshot_;
  std::vector<FetchedLayer> layers_;
  std::optional<object_store::Poller> poller_;
  std::optional<FetchClients> clients_;
  std::vector<bool> is_flying_;  ///< of each frame
  LateRequests late_requests_;   // before the flights, which refer to it
  std::map<std::uint64_t, std::unique_ptr<FrameFlight>> flights_;
  std::uint64_t next_flight_ = 0;
  std::set<std::uint32_t> urgent_;
  std::deque<std::uint32_t> urgent_order_;
  Hedging hedging_;  ///< of requests for frames
  store::LateRequestCount late_count_;
  Clock::time_point next_late_count_{};
  std::optional<PackRanges> pack_;
  std::vector<PackRangeState> pack_states_;
  std::map<ObjectStore::RequestId, std::unique_ptr<PackFlight>> pack_flights_;
  std::deque<std::uint32_t> pack_asked_;  ///< ranges that somebody waits for
  std::uint32_t next_pack_range_ = 0;
  int pack_failures_ = 0;    ///< since something of it has arrived
  bool is_planned_ = false;  ///< what follows the pack
  std::vector<std::uint32_t> soon_;
  std::size_t next_soon_ = 0;
  std::uint32_t cursor_ = 0;
  Backoff fetches_;
  Backoff renewals_;  ///< of the pin
  std::optional<std::string> absent_;
  Status disk_failure_;
  std::vector<std::byte> pin_bytes_;
  bool is_renewing_ = false;
  ObjectStore::RequestId renewal_ = 0;
  std::optional<Clock::time_point> renewed_;
  bool has_damage_ = false;
  int failed_checks_ = 0;
};

}  // namespace

Result<FetchReport> fetch_arrival(ObjectStore& bucket, store::Arrival& arrival,
                                  packed::KeyWrapper* tenant, Progress* progress) {
  return contain("fetch", [&] { return Fetcher(bucket, arrival, tenant, progress).run(); });
}

}  // namespace lamina::remote
