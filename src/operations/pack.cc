#include "lamina/pack.h"

#include <map>
#include <memory>
#include <set>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "operations/output_file.h"
#include "operations/pack_codec.h"
#include "operations/snapshot_files.h"
#include "operations/tenant_key.h"
#include "packed/file_sink.h"
#include "packed/snapshot_writer.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_link.h"

namespace lamina {
namespace {

using store::OpenSnapshot;

/// Files that are packed as they are: all but the layers and what is unfinished.
bool is_packed_as_file(const std::string& name) {
  return name == store::kHeaderName || name == store::kFactsName || !store::is_own_file(name);
}

/// A file of the snapshot that is packed as it is.
struct OtherFile {
  operations::SnapshotFile file;
  packed::PackedFileInput input;
};

using Inode = std::pair<std::uint64_t, std::uint64_t>;

Inode inode_of(const OtherFile& other) {
  return {other.file.opened.facts.device, other.file.opened.facts.inode};
}

std::vector<OtherFile> inputs_of(std::vector<operations::SnapshotFile> files) {
  std::vector<OtherFile> others;
  others.reserve(files.size());
  for (operations::SnapshotFile& file : files) {
    OtherFile other;
    other.input.path = file.path;
    other.input.file = file.opened.fd.get();
    other.input.size_bytes = file.opened.facts.size_bytes;
    other.file = std::move(file);
    others.push_back(std::move(other));
  }
  return others;
}

class Pack {
 public:
  explicit Pack(const PackOptions& options) : options_(options) {}

  Result<PackReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_RETURN_IF_ERROR(check_options());
    LAMINA_ASSIGN_OR_RETURN(tenant_,
                            operations::open_tenant_key(options_.key_file, options_.key_command));
    LAMINA_ASSIGN_OR_RETURN(
        operations::SnapshotWithFiles opened,
        operations::open_with_files(options_.snapshot, is_packed_as_file, "packed"));
    const OpenSnapshot& snapshot = opened.snapshot;
    // What is exported must be a state that can be resumed.
    LAMINA_RETURN_IF_ERROR(store::check_vmstate(snapshot));
    LAMINA_RETURN_IF_ERROR(check_layers(snapshot));
    std::vector<OtherFile> files = inputs_of(std::move(opened.files));
    LAMINA_ASSIGN_OR_RETURN(operations::OutputFile out,
                            operations::OutputFile::create(options_.out, "a packed snapshot"));
    LAMINA_RETURN_IF_ERROR(write(snapshot, files, out.fd()));
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    return out.publish();
  }

  [[nodiscard]] Status check_options() const {
    if (options_.frame_blocks >= 1 && options_.frame_blocks <= packed::kMaxFrameBlocks) return {};
    return fail(ErrorKind::kUsage, "frames of {} blocks are not supported; choose 1 to {}",
                options_.frame_blocks, packed::kMaxFrameBlocks);
  }

  [[nodiscard]] Status check_layers(const OpenSnapshot& snapshot) const {
    for (const engine::Layer& layer : snapshot.chain.layers()) {
      if (layer.trailer()) continue;
      return with_remedy(fail(ErrorKind::kUnsupported,
                              "layer '{}' has no checksums (it was not written by lamina), and is "
                              "not packed without",
                              layer.path()),
                         "run: lamina merge {}", options_.snapshot);
    }
    return {};
  }

  Status write(const OpenSnapshot& snapshot, std::vector<OtherFile>& files, int out) {
    for (const engine::Layer& layer : snapshot.chain.layers()) {
      report_.data_bytes += layer.stored_blocks() * kBlockBytes;
    }
    LAMINA_RETURN_IF_ERROR(find_data(files));
    if (options_.progress != nullptr) options_.progress->begin("packing", report_.data_bytes);
    packed::FileSink sink(out, options_.out);
    packed::SnapshotWriter writer({operations::method_of(options_.codec), options_.frame_blocks,
                                   tenant_.get(), options_.progress},
                                  sink.sink());
    LAMINA_RETURN_IF_ERROR(add_layers(snapshot, writer));
    LAMINA_RETURN_IF_ERROR(add_files(files, writer));
    const std::string name = snapshot.path.substr(snapshot.path.rfind('/') + 1);
    LAMINA_RETURN_IF_ERROR(writer.finish(snapshot.pause_id, name));
    LAMINA_RETURN_IF_ERROR(sink.flush());
    report_.pause_id = snapshot.pause_id;
    report_.memory_bytes = snapshot.header.memory_bytes;
    report_.is_encrypted = tenant_ != nullptr;
    report_.packed_bytes = sink.size_bytes();
    return {};
  }

  /// Finds the data of each file, once if it has several names.
  Status find_data(std::vector<OtherFile>& files) {
    std::set<Inode> known;
    for (OtherFile& file : files) {
      if (!known.insert(inode_of(file)).second) continue;
      packed::PackedFileInput& input = file.input;
      LAMINA_ASSIGN_OR_RETURN(input.runs,
                              packed::data_runs(input.file, input.size_bytes, input.path));
      for (const BlockRun& run : input.runs) report_.data_bytes += run.count * kBlockBytes;
    }
    return {};
  }

  Status add_layers(const OpenSnapshot& snapshot, packed::SnapshotWriter& writer) {
    mapping::LayerIndex index = 0;
    for (const engine::Layer& layer : snapshot.chain.layers()) {
      ++index;
      LAMINA_RETURN_IF_ERROR(
          writer.add_layer(snapshot.chain, index, store::layer_file_name(layer.build_id())));
      ++report_.layers;
    }
    return {};
  }

  Status add_files(const std::vector<OtherFile>& files, packed::SnapshotWriter& writer) {
    std::map<Inode, std::uint32_t> entries;
    for (const OtherFile& file : files) {
      ++report_.files;
      if (const auto known = entries.find(inode_of(file)); known != entries.end()) {
        writer.add_link(file.file.name, known->second);
        continue;
      }
      LAMINA_ASSIGN_OR_RETURN(
          const std::uint32_t entry,
          writer.add_file(file.input, file.file.name, file.file.opened.facts.mode));
      entries.emplace(inode_of(file), entry);
    }
    return {};
  }

  const PackOptions& options_;
  std::unique_ptr<packed::KeyWrapper> tenant_;
  PackReport report_;
};

}  // namespace

Result<PackReport> pack_snapshot(const PackOptions& options) {
  return contain("pack", [&] { return Pack(options).run(); });
}

}  // namespace lamina
