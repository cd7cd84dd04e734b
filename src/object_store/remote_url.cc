#include "object_store/remote_url.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/escape.h"
#include "object_store/directory_store.h"
#include "object_store/encoding.h"
#include "object_store/s3_store.h"

namespace lamina::object_store {
namespace {

constexpr std::string_view kS3Scheme = "s3://";
constexpr std::string_view kFileScheme = "file://";

/// "true" or "false".
Result<bool> truth_of(std::string_view option, std::string_view value) {
  if (value == "true") return true;
  if (value == "false") return false;
  return fail(ErrorKind::kUsage, "option {}='{}' is neither true nor false", option,
              escaped_value(value));
}

/// Sets options of the part of a URL that follows the question mark.
class OptionReader {
 public:
  OptionReader(RemoteUrl& url, std::optional<bool>& path_style)
      : url_(url), path_style_(path_style) {}

  Status read(std::string_view query) {
    while (!query.empty()) {
      const std::size_t end = query.find('&');
      LAMINA_RETURN_IF_ERROR(read_one(query.substr(0, end)));
      query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    }
    return {};
  }

 private:
  Status read_one(std::string_view text) {
    const std::size_t equals = text.find('=');
    const std::string_view name = text.substr(0, equals);
    if (equals == std::string_view::npos) {
      return fail(ErrorKind::kUsage, "option '{}' has no value", escaped_value(name));
    }
    auto value = percent_decoded(text.substr(equals + 1), false);
    if (!value || value->empty()) {
      return fail(ErrorKind::kUsage, "option {} has no value, or one with a lone '%'",
                  escaped_value(name));
    }
    return set(name, std::move(*value));
  }

  Status set(std::string_view name, std::string value) {
    if (name == "path_style") {
      LAMINA_ASSIGN_OR_RETURN(path_style_, truth_of(name, value));
      return {};
    }
    const std::array<std::pair<std::string_view, std::string*>, 4> texts = {
        {{"endpoint", &url_.s3.endpoint},
         {"region", &url_.s3.region},
         {"ca_file", &url_.s3.ca_file},
         {"profile", &url_.profile}}};
    for (const auto& [known, target] : texts) {
      if (known != name) continue;
      *target = std::move(value);
      return {};
    }
    return with_remedy(fail(ErrorKind::kUsage, "option '{}' is unknown", escaped_value(name)),
                       "known: endpoint, region, path_style, ca_file, profile");
  }

  RemoteUrl& url_;
  std::optional<bool>& path_style_;
};

Result<RemoteUrl> parse_directory(std::string_view rest) {
  RemoteUrl url;
  auto path = percent_decoded(rest, false);
  if (!path || !path->starts_with('/') || path->contains('\0')) {
    return with_remedy(fail(ErrorKind::kUsage, "'{}{}' does not name an absolute path", kFileScheme,
                            escaped_value(rest)),
                       "write file:///DIRECTORY");
  }
  while (path->size() > 1 && path->ends_with('/')) path->pop_back();
  url.directory = std::move(*path);
  return url;
}

void take_environment(RemoteUrl& url, const Environment& environment) {
  const auto take = [&](std::string& target, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (target.empty()) target = environment(name).value_or("");
    }
  };
  take(url.s3.endpoint, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  take(url.s3.ca_file, {"AWS_CA_BUNDLE"});
  if (url.s3.region.empty()) {
    url.s3.region = configured_region({.profile = url.profile, .environment = environment})
                        .value_or("us-east-1");
  }
}

Result<RemoteUrl> parse_s3(std::string_view rest, const Environment& environment) {
  RemoteUrl url;
  url.s3.region.clear();
  const std::size_t question = rest.find('?');
  const std::string_view place = rest.substr(0, question);
  const std::size_t slash = place.find('/');
  const std::string_view bucket = place.substr(0, slash);
  // Not quoted: it may be a secret key.
  if (bucket.contains('@')) {
    return with_remedy(fail(ErrorKind::kUsage, "the URL of the object store has a user"),
                       "remove it, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  }
  url.s3.bucket = bucket;
  if (slash != std::string_view::npos) url.s3.prefix = place.substr(slash + 1);
  while (url.s3.prefix.ends_with('/')) url.s3.prefix.pop_back();
  if (!url.s3.prefix.empty()) url.s3.prefix += '/';
  std::optional<bool> path_style;
  if (question != std::string_view::npos) {
    LAMINA_RETURN_IF_ERROR(OptionReader(url, path_style).read(rest.substr(question + 1)));
  }
  take_environment(url, environment);
  url.s3.path_style = path_style.value_or(!url.s3.endpoint.empty());
  LAMINA_ASSIGN_OR_RETURN([[maybe_unused]] const S3Endpoint checked, endpoint_of(url.s3));
  return url;
}

}  // namespace

Result<RemoteUrl> parse_remote_url(std::string_view url, const Environment& environment) {
  if (url.starts_with(kFileScheme)) return parse_directory(url.substr(kFileScheme.size()));
  if (url.starts_with(kS3Scheme)) return parse_s3(url.substr(kS3Scheme.size()), environment);
  const std::size_t colon = std::min(url.find(':'), url.size());
  return with_remedy(fail(ErrorKind::kUsage, "'{}' is not the URL of an object store",
                          escaped_value(url.substr(0, colon))),
                     "write s3://BUCKET/PREFIX or file:///DIRECTORY");
}

std::string name_of_remote(const RemoteUrl& url) {
  if (!url.directory.empty()) return fmt::format("file://{}/", url.directory);
  return fmt::format("s3://{}/{}", url.s3.bucket, url.s3.prefix);
}

Result<std::unique_ptr<ObjectStore>> open_remote(const RemoteUrl& url,
                                                 const Environment& environment) {
  if (!url.directory.empty()) return open_directory_store({.path = url.directory});
  S3Options options{.location = url.s3, .credentials = nullptr};
  LAMINA_ASSIGN_OR_RETURN(
      options.credentials,
      choose_source({.profile = url.profile, .environment = environment, .region = url.s3.region}));
  return open_s3_store(std::move(options));
}

}  // namespace lamina::object_store
