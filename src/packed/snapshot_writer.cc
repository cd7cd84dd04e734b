#include "packed/snapshot_writer.h"

#include <utility>

#include "base/error.h"
#include "format/checksum.h"
#include "packed/seal.h"

namespace lamina::packed {
namespace {

constexpr std::uint32_t kPermissionBits = 0777;

SnapshotEntry entry_of(EntryKind kind, const std::string& name, const PackedObject& object) {
  SnapshotEntry entry;
  entry.kind = kind;
  entry.name = name;
  entry.object_bytes = object.footer.object_bytes();
  entry.footer_digest = object.footer_digest;
  return entry;
}

}  // namespace

SnapshotWriter::SnapshotWriter(SnapshotPackSettings settings, Sink sink)
    : settings_(settings), sink_(std::move(sink)) {}

Result<PackSettings> SnapshotWriter::settings_for_next() {
  const std::string name = object_name(static_cast<std::uint32_t>(contents_.entries.size()));
  PackSettings settings{settings_.method, settings_.frame_blocks, name, std::nullopt};
  if (settings_.tenant == nullptr) return settings;
  LAMINA_ASSIGN_OR_RETURN(DataKey key, DataKey::random());
  keys_.insert_or_assign(name, key);
  settings.key = std::move(key);
  return settings;
}

Status SnapshotWriter::add_layer(const engine::Chain& chain, mapping::LayerIndex index,
                                 const std::string& name) {
  LAMINA_ASSIGN_OR_RETURN(const PackSettings settings, settings_for_next());
  LAMINA_ASSIGN_OR_RETURN(const PackedObject object,
                          pack_layer(chain, index, settings, sink_, settings_.progress));
  contents_.entries.push_back(entry_of(EntryKind::kLayer, name, object));
  objects_bytes_ += object.footer.object_bytes();
  return {};
}

Result<std::uint32_t> SnapshotWriter::add_file(const PackedFileInput& input,
                                               const std::string& name, std::uint32_t mode) {
  LAMINA_ASSIGN_OR_RETURN(const PackSettings settings, settings_for_next());
  LAMINA_ASSIGN_OR_RETURN(const PackedObject object,
                          pack_file(input, settings, sink_, settings_.progress));
  SnapshotEntry entry = entry_of(EntryKind::kFile, name, object);
  entry.mode = mode & kPermissionBits;
  contents_.entries.push_back(std::move(entry));
  objects_bytes_ += object.footer.object_bytes();
  return static_cast<std::uint32_t>(contents_.entries.size() - 1);
}

void SnapshotWriter::add_link(const std::string& name, std::uint32_t target) {
  SnapshotEntry entry;
  entry.kind = EntryKind::kLink;
  entry.name = name;
  entry.target = target;
  contents_.entries.push_back(std::move(entry));
}

Status SnapshotWriter::finish(const Uuid& pause_id, const std::string& name) {
  contents_.pause_id = pause_id;
  contents_.name = name;
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::byte> contents, encode_contents(contents_));
  SnapshotFooter footer;
  footer.objects_bytes = objects_bytes_;
  footer.entry_count = static_cast<std::uint32_t>(contents_.entries.size());
  std::vector<std::byte> keyring;
  if (settings_.tenant != nullptr) {
    LAMINA_ASSIGN_OR_RETURN(const DataKey key, DataKey::random());
    keys_.insert_or_assign(kContentsName, key);
    LAMINA_ASSIGN_OR_RETURN(Sealer sealer,
                            Sealer::create(key, contents_identity(footer.entry_count)));
    contents.resize(contents.size() + kTagBytes);
    LAMINA_RETURN_IF_ERROR(sealer.seal({PartKind::kIndex, 0, 0, 0}, contents));
    LAMINA_ASSIGN_OR_RETURN(keyring, encode_keyring(keys_, *settings_.tenant));
  }
  footer.contents_bytes = contents.size();
  footer.contents_digest = format::checksum64(contents);
  footer.keyring_bytes = keyring.size();
  if (footer.is_sealed()) footer.keyring_digest = format::checksum64(keyring);
  LAMINA_RETURN_IF_ERROR(sink_(contents));
  LAMINA_RETURN_IF_ERROR(sink_(keyring));
  return sink_(encode_snapshot_footer(footer));
}

}  // namespace lamina::packed
