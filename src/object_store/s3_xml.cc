#include "object_store/s3_xml.h"

#include <charconv>
#include <pugixml.hpp>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "object_store/encoding.h"

namespace lamina::object_store {
namespace {

constexpr int kMaxXmlDepth = 16;
/// 1,000 objects have 20 elements each where an answer is generous.
constexpr std::size_t kMaxElements = 50'000;

std::unexpected<Error> not_an_answer(std::string_view what) {
  return fail(ErrorKind::kCorrupt, "the answer is not {}", what);
}

/// True if `text` has a bounded number of elements, not too deep, and no document type. It need not
/// be well-formed for that.
bool is_modest(std::string_view text) {
  int depth = 0;
  std::size_t elements = 0;
  for (std::size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1)) {
    const char next = at + 1 < text.size() ? text[at + 1] : '\0';
    if (next == '!' || ++elements > 2 * kMaxElements) return false;
    if (next == '?') continue;
    if (next == '/') {
      --depth;
      continue;
    }
    const std::size_t end = text.find('>', at);
    if (end == std::string_view::npos) return false;
    if (text[end - 1] != '/' && ++depth > kMaxXmlDepth) return false;
  }
  return true;
}

/// `name` without "prefix:".
std::string_view local_name(std::string_view name) {
  const std::size_t colon = name.find(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

pugi::xml_node child_of(const pugi::xml_node& parent, std::string_view name) {
  for (const pugi::xml_node& child : parent.children()) {
    if (local_name(child.name()) == name) return child;
  }
  return {};
}

std::string text_of(const pugi::xml_node& parent, std::string_view name) {
  return child_of(parent, name).child_value();
}

/// Parses `body` into `document` and returns its root, which is empty if it has not that name.
pugi::xml_node root_of(pugi::xml_document& document, std::span<const std::byte> body,
                       std::string_view name) {
  const std::string_view text(reinterpret_cast<const char*>(body.data()), body.size());
  if (body.size() > kMaxXmlBytes || !is_modest(text)) return {};
  // parse_ws_pcdata: a key may be a single space.
  const pugi::xml_parse_result parsed =
      document.load_buffer(body.data(), body.size(),
                           pugi::parse_default | pugi::parse_ws_pcdata_single, pugi::encoding_utf8);
  if (!parsed) return {};
  const pugi::xml_node root = document.document_element();
  return local_name(root.name()) == name ? root : pugi::xml_node();
}

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

Result<Entry> entry_of(const pugi::xml_node& contents, bool is_encoded) {
  Entry entry;
  const std::string key = text_of(contents, "Key");
  const auto decoded = is_encoded ? percent_decoded(key, true) : std::optional(key);
  const auto size = number_of(text_of(contents, "Size"));
  const auto modified = time_of_iso8601(text_of(contents, "LastModified"));
  if (!decoded || decoded->empty() || !size || !modified) {
    return fail(ErrorKind::kCorrupt, "the answer has an object without key, size or time");
  }
  entry.key = *decoded;
  entry.size_bytes = *size;
  entry.modified = *modified;
  return entry;
}

/// A key, which may be encoded as of a URL.
std::optional<std::string> key_of(const pugi::xml_node& parent, std::string_view name,
                                  bool is_encoded) {
  std::string key = text_of(parent, name);
  return is_encoded ? percent_decoded(key, true) : std::optional(std::move(key));
}

Result<PendingUpload> upload_of(const pugi::xml_node& node, bool is_encoded) {
  auto key = key_of(node, "Key", is_encoded);
  PendingUpload upload{.key = {},
                       .upload_id = text_of(node, "UploadId"),
                       .begun = time_of_iso8601(text_of(node, "Initiated"))};
  if (!key || key->empty() || upload.upload_id.empty()) {
    return fail(ErrorKind::kCorrupt, "the answer has an upload without key or id");
  }
  upload.key = std::move(*key);
  return upload;
}

/// The text of child `name` of the root called `root`; kCorrupt if there is none.
Result<std::string> text_in(std::span<const std::byte> body, std::string_view root_name,
                            std::string_view name) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, body, root_name);
  std::string text = text_of(root, name);
  if (text.empty()) return not_an_answer(root_name);
  return text;
}

}  // namespace

std::optional<S3Error> error_in(std::span<const std::byte> body) {
  pugi::xml_document document;
  pugi::xml_node error = root_of(document, body, "Error");
  // AssumeRole answers <ErrorResponse><Error>….
  if (!error) error = child_of(root_of(document, body, "ErrorResponse"), "Error");
  S3Error result{.code = text_of(error, "Code"), .message = text_of(error, "Message")};
  if (result.code.empty()) return std::nullopt;
  return result;
}

Result<S3List> list_in(std::span<const std::byte> body) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, body, "ListBucketResult");
  const std::string truncated = text_of(root, "IsTruncated");
  if (truncated != "true" && truncated != "false") return not_an_answer("a list of objects");
  S3List list{.entries = {}, .is_truncated = truncated == "true"};
  const bool is_encoded = text_of(root, "EncodingType") == "url";
  for (const pugi::xml_node& child : root.children()) {
    if (local_name(child.name()) != "Contents") continue;
    LAMINA_ASSIGN_OR_RETURN(Entry entry, entry_of(child, is_encoded));
    list.entries.push_back(std::move(entry));
  }
  return list;
}

Result<S3Uploads> uploads_in(std::span<const std::byte> body) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, body, "ListMultipartUploadsResult");
  const std::string truncated = text_of(root, "IsTruncated");
  if (truncated != "true" && truncated != "false") return not_an_answer("a list of uploads");
  S3Uploads list;
  list.is_truncated = truncated == "true";
  const bool is_encoded = text_of(root, "EncodingType") == "url";
  for (const pugi::xml_node& child : root.children()) {
    if (local_name(child.name()) != "Upload") continue;
    LAMINA_ASSIGN_OR_RETURN(PendingUpload upload, upload_of(child, is_encoded));
    list.uploads.push_back(std::move(upload));
  }
  list.next_key = key_of(root, "NextKeyMarker", is_encoded).value_or("");
  list.next_upload_id = text_of(root, "NextUploadIdMarker");
  return list;
}

Result<std::string> upload_id_in(std::span<const std::byte> body) {
  return text_in(body, "InitiateMultipartUploadResult", "UploadId");
}

Result<std::string> completed_tag_in(std::span<const std::byte> body) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, body, "CompleteMultipartUploadResult");
  // Ceph 16 sends an empty ETag.
  if (!child_of(root, "ETag")) return not_an_answer("CompleteMultipartUploadResult");
  return text_of(root, "ETag");
}

Result<Credentials> credentials_in(std::span<const std::byte> body) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, body, "AssumeRoleWithWebIdentityResponse");
  const pugi::xml_node node =
      child_of(child_of(root, "AssumeRoleWithWebIdentityResult"), "Credentials");
  Credentials credentials{.access_key = text_of(node, "AccessKeyId"),
                          .secret_key = text_of(node, "SecretAccessKey"),
                          .session_token = text_of(node, "SessionToken"),
                          .expires = time_of_iso8601(text_of(node, "Expiration"))};
  if (credentials.access_key.empty() || credentials.secret_key.empty()) {
    return not_an_answer("credentials");
  }
  return credentials;
}

std::string completion_of(const std::vector<UploadedPart>& parts) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("CompleteMultipartUpload");
  for (const UploadedPart& part : parts) {
    pugi::xml_node node = root.append_child("Part");
    node.append_child("PartNumber").text().set(part.number);
    node.append_child("ETag").text().set(part.tag.c_str());
  }
  std::ostringstream text;
  document.save(text, "", pugi::format_raw | pugi::format_no_declaration);
  return text.str();
}

}  // namespace lamina::object_store
