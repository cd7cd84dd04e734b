#include "store/snapshot_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "engine/check.h"
#include "format/header_codec.h"
#include "os/directory.h"
#include "os/range_copy.h"
#include "os/sparse_file.h"
#include "store/areas.h"
#include "store/store.h"

namespace lamina::store {
namespace {

using engine::Chain;
using engine::Layer;
using mapping::LayerIndex;

/// How often a snapshot is opened again if it is replaced meanwhile.
constexpr int kOpenAttempts = 20;
constexpr std::uint64_t kMaxVmstateBytes = std::uint64_t{256} << 20;

bool expects_trailer(const format::Header& header, std::size_t index,
                     const std::optional<SnapshotFacts>& facts) {
  if (header.format == HeaderFormat::kNative) return header.layers[index].has_checksums;
  if (!facts) return false;
  const Uuid& id = header.mapping.layers()[index];
  return std::any_of(facts->layers.begin(), facts->layers.end(), [&](const LayerFact& layer) {
    return layer.build_id == id && layer.has_checksums;
  });
}

/// Sorts the layers of a version 1 or 3 header into the order in the youngest layer's trailer.
/// False if that does not have all of them.
Result<bool> sort_layers(format::Header& header, std::vector<Layer>& layers) {
  const auto own = header.mapping.layer_index(header.build_id);
  const std::size_t count = layers.size();
  std::vector<std::size_t> rank(count, 0);
  const auto& trailer = layers[own - 1U].trailer();
  bool known = trailer.has_value() || count == 1;
  for (std::size_t i = 0; i < count && trailer; ++i) {
    if (i + 1 == own) {
      rank[i] = trailer->chain.size() + 1;
      continue;
    }
    const auto found =
        std::find(trailer->chain.begin(), trailer->chain.end(), layers[i].build_id());
    known = known && found != trailer->chain.end();
    if (found != trailer->chain.end()) {
      rank[i] = static_cast<std::size_t>(found - trailer->chain.begin()) + 1;
    }
  }
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(rank[a], a) < std::pair(rank[b], b);  // stable
  });
  std::vector<LayerIndex> renumbered(count + 1, mapping::kZeros);
  std::vector<Uuid> ids;
  std::vector<Layer> sorted;
  for (const std::size_t old : order) {
    ids.push_back(layers[old].build_id());
    sorted.push_back(std::move(layers[old]));
    renumbered[old + 1] = static_cast<LayerIndex>(ids.size());
  }
  layers = std::move(sorted);
  std::vector<mapping::Extent> extents(header.mapping.extent_count());
  for (std::size_t i = 0; i < extents.size(); ++i) {
    extents[i] = header.mapping.extent(i);
    extents[i].layer = renumbered[extents[i].layer];
  }
  LAMINA_ASSIGN_OR_RETURN(header.mapping, mapping::Mapping::create(header.mapping.block_count(),
                                                                   std::move(ids), extents));
  return known;
}

/// A header, and the file that it was read from.
struct HeaderFile {
  os::OpenedFile file;
  format::Header header;
};

Result<HeaderFile> open_header(int directory, const std::string& path) {
  const std::string header_path = fmt::format("{}/{}", path, kHeaderName);
  auto opened = os::open_regular(directory, kHeaderName, O_RDONLY, header_path);
  if (!opened) {
    if (opened.error().kind != ErrorKind::kNotFound) return std::unexpected(opened.error());
    if (is_store(path)) {
      return with_remedy(fail(ErrorKind::kNotFound, "'{}' is a store and not a snapshot", path),
                         "name one that it has: lamina ls {0}; it is called {0}/NAME", path);
    }
    return with_remedy(fail(ErrorKind::kNotFound, "'{}' is missing", header_path),
                       "if '{0}' is a snapshot, run: lamina repair {0}", path);
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          read_header_bytes(opened->fd.get(), header_path));
  auto header = format::decode_header(bytes);
  if (!header) {
    return std::unexpected(with_context(fmt::format("header '{}'", header_path), header.error()));
  }
  if (header->format != HeaderFormat::kNative) {
    // A header of version 1 or 3 has no checksum: compare it with the digest in the facts.
    LAMINA_ASSIGN_OR_RETURN(const std::optional<SnapshotFacts> facts, read_facts(directory, path));
    if (facts && (facts->header.size_bytes != bytes.size() ||
                  facts->header.digest != format::digest128(bytes))) {
      return with_remedy(fail(ErrorKind::kCorrupt, "header '{}' does not match the digest in {}",
                              header_path, kFactsName),
                         "run: lamina repair {}", path);
    }
  }
  return HeaderFile{std::move(*opened), std::move(*header)};
}

Result<os::OpenedFile> open_vmstate(int directory, const std::string& path) {
  return os::open_regular(directory, kVmstateName, O_RDONLY,
                          fmt::format("{}/{}", path, kVmstateName));
}

Result<format::FileDigest> digest_of(const os::OpenedFile& file, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(file.fd.get(), kMaxVmstateBytes, path));
  return format::FileDigest{bytes.size(), format::digest128(bytes)};
}

/// A snapshot's directory, its header and its facts, which fit each other.
struct Described {
  os::Fd directory;
  os::FileFacts directory_facts;
  HeaderFile header_file;
  std::optional<SnapshotFacts> facts;
  Uuid pause_id;
};

Result<Described> describe_once(const std::string& path) {
  auto directory = open_in_store(path);
  if (!directory) {
    if (directory.error().kind != ErrorKind::kNotFound) return std::unexpected(directory.error());
    // If it is a directory now, it was published a moment ago.
    if (os::is_non_directory(path)) {
      return fail(ErrorKind::kUsage,
                  "'{}' is a file; a snapshot is the directory that holds {} and the layers", path,
                  kHeaderName);
    }
    return fail(ErrorKind::kNotFound, "snapshot '{}' does not exist", path);
  }
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts directory_facts,
                          os::facts_of(directory->get(), path));
  LAMINA_ASSIGN_OR_RETURN(HeaderFile header_file, open_header(directory->get(), path));
  LAMINA_ASSIGN_OR_RETURN(std::optional<SnapshotFacts> facts, read_facts(directory->get(), path));
  if (facts) LAMINA_RETURN_IF_ERROR(check_facts(header_file.header, *facts, path));
  Uuid pause_id = header_file.header.pause_id;
  if (pause_id.is_nil()) pause_id = facts ? facts->pause_id : header_file.header.build_id;
  return Described{std::move(*directory), directory_facts, std::move(header_file), std::move(facts),
                   pause_id};
}

Result<OpenSnapshot> open_once(const std::string& path, engine::Checksums checksums) {
  LAMINA_ASSIGN_OR_RETURN(Described described, describe_once(path));
  const int directory = described.directory.get();
  format::Header& header = described.header_file.header;
  const std::optional<SnapshotFacts>& facts = described.facts;
  LAMINA_ASSIGN_OR_RETURN(std::vector<Layer> layers,
                          open_layers(directory, path, header, facts, checksums));
  bool order_known = true;
  if (header.format != HeaderFormat::kNative) {
    LAMINA_ASSIGN_OR_RETURN(order_known, sort_layers(header, layers));
    if (facts) header.vmstate = facts->vmstate;
    header.layers.clear();
    for (const Layer& layer : layers) {
      header.layers.push_back({layer.data_blocks(), layer.trailer().has_value()});
    }
  }
  auto chain = Chain::create(header.mapping, std::move(layers));
  if (!chain) {
    return std::unexpected(
        with_context(fmt::format("header '{}/{}'", path, kHeaderName), chain.error()));
  }
  auto vmstate = open_vmstate(directory, path);
  return OpenSnapshot{path,
                      std::move(described.directory),
                      described.directory_facts,
                      std::move(described.header_file.file),
                      std::move(vmstate),
                      std::move(header),
                      std::move(described.facts),
                      order_known,
                      described.pause_id,
                      std::move(*chain)};
}

Result<os::FileFacts> directory_facts_of(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, open_in_store(path));
  return os::facts_of(directory.get(), path);
}

}  // namespace

std::string layer_file_name(const Uuid& build_id) { return kLayerPrefix + build_id.to_string(); }

std::optional<Uuid> parse_layer_file_name(const std::string& name) {
  const std::string_view prefix = kLayerPrefix;
  if (!name.starts_with(prefix)) return std::nullopt;
  const auto id = Uuid::parse(std::string_view(name).substr(prefix.size()));
  if (!id) return std::nullopt;
  return *id;
}

Status check_facts(const format::Header& header, const SnapshotFacts& facts,
                   const std::string& path) {
  const bool pause_ids_differ =
      header.format == HeaderFormat::kNative && header.pause_id != facts.pause_id;
  if (header.build_id != facts.build_id || header.memory_bytes != facts.memory_bytes ||
      pause_ids_differ) {
    return with_remedy(
        fail(ErrorKind::kCorrupt, "'{0}/{1}' and '{0}/{2}' describe different snapshots", path,
             kFactsName, kHeaderName),
        "if the header is the right one, remove {1} and run: lamina repair {0}", path, kFactsName);
  }
  return {};
}

Result<std::vector<engine::Layer>> open_layers(int directory, const std::string& path,
                                               const format::Header& header,
                                               const std::optional<SnapshotFacts>& facts,
                                               engine::Checksums checksums) {
  const auto ids = header.mapping.layers();
  std::vector<Layer> layers;
  layers.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::string name = layer_file_name(ids[i]);
    if (ids.size() == 1 && header.format != HeaderFormat::kNative &&
        !os::name_exists(directory, name) && os::name_exists(directory, kLegacyLayerName)) {
      name = kLegacyLayerName;
    }
    auto layer = Layer::open(directory, name, path + "/" + name, ids[i],
                             expects_trailer(header, i, facts), checksums);
    if (!layer) {
      if (layer.error().kind != ErrorKind::kNotFound) return std::unexpected(layer.error());
      return fail(ErrorKind::kNotFound, "layer '{}/{}' is missing", path, name);
    }
    if (header.format == HeaderFormat::kNative &&
        header.layers[i].data_blocks != layer->data_blocks()) {
      return fail(
          ErrorKind::kCorrupt,
          "layer '{}' has {} blocks of data, but the header says {}: it was truncated or replaced",
          layer->path(), layer->data_blocks(), header.layers[i].data_blocks);
    }
    if (layer->trailer() && layer->trailer()->memory_bytes != header.memory_bytes) {
      return fail(ErrorKind::kCorrupt, "layer '{}' is of {} bytes of memory, the header of {}",
                  layer->path(), layer->trailer()->memory_bytes, header.memory_bytes);
    }
    layers.push_back(std::move(*layer));
  }
  return layers;
}

namespace {

/// Calls `open` again if a file was missing because the directory was replaced or removed while it
/// was read; then that is no error of the snapshot. `missing` tells it of what `open` returned.
template <typename Open, typename Missing>
auto retried(const std::string& path, const Open& open, const Missing& missing)
    -> decltype(open()) {
  for (int attempt = 1;; ++attempt) {
    const auto before = directory_facts_of(path);
    auto opened = open();
    bool retry = before && attempt < kOpenAttempts && missing(opened);
    if (retry) {
      const auto now = directory_facts_of(path);
      retry = !now || !now->same_file(*before);
    }
    if (!retry) return opened;
  }
}

template <typename T>
bool is_missing(const Result<T>& file) {
  return !file && file.error().kind == ErrorKind::kNotFound;
}

}  // namespace

Result<OpenSnapshot> open_snapshot(const std::string& path, engine::Checksums checksums) {
  return retried(
      path, [&] { return open_once(path, checksums); },
      [](const Result<OpenSnapshot>& opened) {
        return is_missing(opened) || (opened && is_missing(opened->vmstate_file));
      });
}

Result<SnapshotIdentity> identify_snapshot(const std::string& path) {
  const auto described = retried(path, [&] { return describe_once(path); }, is_missing<Described>);
  if (!described) return std::unexpected(described.error());
  return SnapshotIdentity{described->pause_id, described->directory_facts};
}

Result<bool> was_replaced(const OpenSnapshot& snapshot) {
  const auto now = directory_facts_of(snapshot.path);
  if (now) return !now->same_file(snapshot.directory_facts);
  if (now.error().kind == ErrorKind::kNotFound) return true;
  return std::unexpected(now.error());
}

Status retry_if_replaced(OpenSnapshot& snapshot, const std::function<Status()>& use) {
  for (int attempt = 1;; ++attempt) {
    const Status used = use();
    const bool retry = !used && used.error().kind == ErrorKind::kBusy && attempt < kOpenAttempts &&
                       was_replaced(snapshot).value_or(false);
    if (!retry) return used;
    LAMINA_ASSIGN_OR_RETURN(snapshot, open_snapshot(snapshot.path, engine::Checksums::kSkip));
  }
}

Result<std::vector<std::byte>> read_header_bytes(int fd, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(fd, path));
  LAMINA_ASSIGN_OR_RETURN(const bool stored, os::is_stored(fd, 0, facts.size_bytes, path));
  if (!stored && facts.size_bytes > 0) {
    return fail(ErrorKind::kCorrupt, "header '{}' has a hole: it was never written whole", path);
  }
  return os::read_whole(fd, format::kMaxHeaderBytes, path);
}

Result<format::Header> read_header(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(HeaderFile opened, open_header(directory, path));
  return std::move(opened.header);
}

Result<std::optional<SnapshotFacts>> read_facts(int directory, const std::string& path) {
  const std::string facts_path = fmt::format("{}/{}", path, kFactsName);
  LAMINA_ASSIGN_OR_RETURN(const auto bytes,
                          os::read_if_exists(directory, kFactsName, kMaxFactsBytes, facts_path));
  if (!bytes) return std::nullopt;
  auto facts = decode_facts(*bytes);
  if (!facts) {
    return with_remedy(
        fail(ErrorKind::kCorrupt, "'{}' is damaged ({})", facts_path, one_line(facts.error())),
        "run: lamina repair {}", path);
  }
  return std::optional(std::move(*facts));
}

namespace {

/// Replaces a file with its synced copy `copy`. Failures are ignored: the next link is then a copy
/// too.
void take_place_of(const LinkSource& source, int copy) {
  const std::string name = source.path.substr(source.path.rfind('/') + 1);
  const auto there = os::facts_of_name(source.directory, name, source.path);
  const bool is_the_one = there && there->same_file(source.facts);
  // A file of another user cannot be linked for that reason, and is not replaced.
  if (!is_the_one || source.facts.user != ::geteuid()) return;
  // Of another file it must not be the copy. Another copy of this one has the same contents.
  const std::string fresh = fmt::format("{}.{}", kNewLinkPrefix, name);
  if (!os::remove_file(source.directory, fresh, source.path)) return;
  const auto linked = os::link_descriptor(copy, source.directory, fresh, source.path);
  if (!linked || !*linked) return;
  const Status moved =
      os::rename_over(source.directory, fresh, source.directory, name, source.path);
  if (!moved) static_cast<void>(os::remove_file(source.directory, fresh, source.path));
}

/// Absent if the file was linked.
Result<std::optional<os::Fd>> link_or_make_copy(const LinkSource& source, const std::string& name,
                                                int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const bool linked,
                          os::link_descriptor(source.file, directory, name, path));
  if (linked) return std::nullopt;
  LAMINA_ASSIGN_OR_RETURN(os::Fd copy,
                          os::copy_to_new_file(source.file, source.facts.size_bytes, source.path,
                                               directory, name, path, source.progress));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), path));
  return std::optional(std::move(copy));
}

}  // namespace

Result<bool> link_or_copy(const LinkSource& source, const std::string& name, int directory,
                          const std::string& directory_path) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> copy,
                          link_or_make_copy(source, name, directory, directory_path + "/" + name));
  if (copy) take_place_of(source, copy->get());
  return !copy;
}

Result<bool> link_layer(const Layer& layer, int source_directory, int directory,
                        const std::string& directory_path) {
  return link_layer_as(layer_file_name(layer.build_id()), layer, source_directory, directory,
                       directory_path);
}

Result<bool> link_layer_as(const std::string& name, const Layer& layer, int source_directory,
                           int directory, const std::string& directory_path, Progress* progress) {
  const LinkSource source{layer.fd(), layer.facts(), layer.path(), source_directory, progress};
  const std::string path = directory_path + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> copy,
                          link_or_make_copy(source, name, directory, path));
  if (!copy) return true;
  LAMINA_ASSIGN_OR_RETURN(const Layer copied,
                          Layer::open(directory, name, path, layer.build_id(),
                                      layer.trailer().has_value(), engine::Checksums::kLoad));
  LAMINA_RETURN_IF_ERROR(engine::check_stored(copied));
  take_place_of(source, copy->get());
  return false;
}

Result<format::FileDigest> store_vmstate(const std::string& source, int directory,
                                         const std::string& directory_path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened,
                          os::open_regular(AT_FDCWD, source, O_RDONLY, source));
  if (opened.facts.size_bytes > kMaxVmstateBytes) {
    return fail(ErrorKind::kFailed, "'{}' has {} bytes; a VM state of at most {} is kept", source,
                opened.facts.size_bytes, kMaxVmstateBytes);
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(opened.fd.get(), kMaxVmstateBytes, source));
  LAMINA_RETURN_IF_ERROR(os::write_new_file(directory, kVmstateName, bytes,
                                            fmt::format("{}/{}", directory_path, kVmstateName)));
  return format::FileDigest{bytes.size(), format::digest128(bytes)};
}

Result<format::FileDigest> digest_vmstate(int directory, const std::string& directory_path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened, open_vmstate(directory, directory_path));
  return digest_of(opened, fmt::format("{}/{}", directory_path, kVmstateName));
}

Status check_vmstate(const OpenSnapshot& snapshot) {
  if (!snapshot.header.vmstate) return {};
  if (!snapshot.vmstate_file) return std::unexpected(snapshot.vmstate_file.error());
  const std::string path = fmt::format("{}/{}", snapshot.path, kVmstateName);
  LAMINA_ASSIGN_OR_RETURN(const format::FileDigest found, digest_of(*snapshot.vmstate_file, path));
  if (found == *snapshot.header.vmstate) return {};
  return fail(ErrorKind::kCorrupt,
              "'{}' does not match its digest: it is not the VM state that was stored; restore the "
              "file from a copy",
              path);
}

Status write_facts(const Description& description, std::span<const std::byte> header_bytes,
                   int directory, const std::string& directory_path,
                   const std::string& facts_name) {
  const format::Header& header = description.header;
  SnapshotFacts facts;
  facts.pause_id = description.pause_id;
  facts.build_id = header.build_id;
  facts.parent_pause_id = description.parent_pause_id;
  facts.ancestors = description.ancestors;
  facts.parent = description.parent;
  facts.created = description.created;
  facts.origin = description.origin;
  facts.generation = header.generation;
  facts.memory_bytes = header.memory_bytes;
  facts.header_format = header.format;
  facts.header = {header_bytes.size(), format::digest128(header_bytes)};
  facts.vmstate = header.vmstate;
  facts.once = description.once;
  facts.pause = description.pause;
  for (std::size_t i = 0; i < header.layers.size(); ++i) {
    facts.layers.push_back({header.mapping.layers()[i], header.layers[i].has_checksums});
  }
  const std::string text = encode_facts(facts);
  return os::write_new_file(directory, facts_name, std::as_bytes(std::span(text)),
                            directory_path + "/" + facts_name);
}

Status write_description(const Description& description, int directory,
                         const std::string& directory_path, const std::string& header_name,
                         const std::string& facts_name) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          format::encode_header(description.header));
  LAMINA_RETURN_IF_ERROR(
      os::write_new_file(directory, header_name, bytes, directory_path + "/" + header_name));
  return write_facts(description, bytes, directory, directory_path, facts_name);
}

}  // namespace lamina::store
