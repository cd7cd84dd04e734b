#include "vmm/firecracker/clone_metadata.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "os/file.h"
#include "vmm/firecracker/version.h"

namespace lamina::vmm {
namespace {

using Metadata = nlohmann::json;

constexpr const char* kOurKey = "lamina";
/// For the object that is added.
constexpr std::size_t kAddedBytes = 1024;

}  // namespace

Result<std::string> read_mmds(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  if (file.facts.size_bytes > kMaxMmdsBytes - kAddedBytes) {
    return fail(ErrorKind::kUsage, "'{}' has {} bytes; Firecracker takes {} of metadata", path,
                file.facts.size_bytes, kMaxMmdsBytes - kAddedBytes);
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(file.fd.get(), kMaxMmdsBytes, path));
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Metadata contents = Metadata::parse(text, nullptr, false);
  if (!contents.is_object()) {
    return fail(ErrorKind::kUsage, "'{}' is not a JSON object", path);
  }
  if (contents.contains(kOurKey)) {
    return fail(ErrorKind::kUsage, "'{}' has the key '{}', which lamina adds", path, kOurKey);
  }
  return text;
}

Result<std::string> mmds_for(const std::string& contents, const CloneIdentity& identity) {
  Metadata document = Metadata::parse(contents, nullptr, false);
  if (!document.is_object()) return fail(ErrorKind::kUsage, "the metadata is not a JSON object");
  Metadata added = Metadata::object();
  added["resume_id"] = identity.resume_id.to_string();
  // A text: the metadata service shows only texts and objects outside its JSON format.
  added["clone"] = std::to_string(identity.clone_number);
  added["pause_id"] = identity.pause_id.to_string();
  added["snapshot"] = identity.snapshot;
  document[kOurKey] = std::move(added);
  std::string text = document.dump(-1, ' ', false, Metadata::error_handler_t::replace);
  if (text.size() > kMaxMmdsBytes) {
    return fail(ErrorKind::kUsage, "the metadata has {} bytes; Firecracker takes {}", text.size(),
                kMaxMmdsBytes);
  }
  return text;
}

std::string generation_device(const std::string& version) {
#if defined(__x86_64__)
  constexpr auto kSince = Version{1, 8, 0, false};
#else
  constexpr auto kSince = Version{1, 9, 0, false};
#endif
  const auto parsed = parse_version(version);
  if (!parsed) return "vmgenid";
  return *parsed >= kSince ? "vmgenid" : "none";
}

}  // namespace lamina::vmm
