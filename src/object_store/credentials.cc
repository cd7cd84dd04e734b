#include "object_store/credentials.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "base/escape.h"
#include "object_store/credential_services.h"
#include "object_store/profile_file.h"

namespace lamina::object_store {
namespace {

std::string value_or_empty(const Profile& profile, std::string_view name) {
  const auto found = profile.find(name);
  return found == profile.end() ? std::string() : found->second;
}

/// The profile's settings of both files; those of `credentials` come first.
struct Profiles {
  std::string name;
  bool is_named = false;  ///< by an option or the environment
  std::optional<Profile> credentials;
  std::optional<Profile> config;

  [[nodiscard]] std::string value(std::string_view setting) const {
    std::string found = credentials ? value_or_empty(*credentials, setting) : std::string();
    if (found.empty() && config) found = value_or_empty(*config, setting);
    return found;
  }
};

Result<Profiles> read_profiles(const CredentialOptions& options) {
  const Environment& environment = options.environment;
  Profiles profiles;
  profiles.name = options.profile;
  if (profiles.name.empty()) profiles.name = environment("AWS_PROFILE").value_or("");
  profiles.is_named = !profiles.name.empty();
  if (!profiles.is_named) profiles.name = "default";
  const std::string home = environment("HOME").value_or("");
  const auto path_of = [&](const char* variable, const char* file) -> std::string {
    if (const auto given = environment(variable)) return *given;
    return home.empty() ? std::string() : home + "/.aws/" + file;
  };
  const std::string credentials = path_of("AWS_SHARED_CREDENTIALS_FILE", "credentials");
  const std::string config = path_of("AWS_CONFIG_FILE", "config");
  if (!credentials.empty()) {
    LAMINA_ASSIGN_OR_RETURN(profiles.credentials, read_section(credentials, profiles.name));
  }
  if (!config.empty()) {
    const bool is_default = profiles.name == "default";
    LAMINA_ASSIGN_OR_RETURN(
        profiles.config, read_section(config, is_default ? "default" : "profile " + profiles.name));
  }
  return profiles;
}

std::unexpected<Error> unusable(const Profiles& profiles, std::string_view reason) {
  return fail(ErrorKind::kPermission, "profile '{}': {}", escaped_value(profiles.name), reason);
}

using SourcePtr = std::unique_ptr<CredentialSource>;

/// Null if the profile has no credentials and none was named.
Result<SourcePtr> source_of_profile(const Profiles& profiles, const CredentialOptions& options) {
  Credentials keys{.access_key = profiles.value("aws_access_key_id"),
                   .secret_key = profiles.value("aws_secret_access_key"),
                   .session_token = profiles.value("aws_session_token")};
  if (!keys.access_key.empty() && !keys.secret_key.empty()) return static_source(std::move(keys));
  if (!keys.access_key.empty() || !keys.secret_key.empty()) {
    return unusable(profiles, "has only one of aws_access_key_id and aws_secret_access_key");
  }
  const std::string token_file = profiles.value("web_identity_token_file");
  const std::string role = profiles.value("role_arn");
  if (!token_file.empty() && !role.empty()) {
    return web_identity_source({.token_file = token_file,
                                .role = role,
                                .session_name = profiles.value("role_session_name"),
                                .region = options.region},
                               options.environment);
  }
  for (const std::string_view setting : {"source_profile", "credential_source", "sso_session",
                                         "sso_start_url", "credential_process"}) {
    if (!profiles.value(setting).empty()) {
      return with_remedy(unusable(profiles, fmt::format("{} is not supported", setting)),
                         "export AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN");
    }
  }
  if (!profiles.is_named) return SourcePtr();
  return unusable(profiles, profiles.credentials || profiles.config
                                ? "has no credentials"
                                : "is in neither of the shared files");
}

Result<SourcePtr> source_of_environment(const CredentialOptions& options) {
  const Environment& environment = options.environment;
  const auto access_key = environment("AWS_ACCESS_KEY_ID");
  const auto secret_key = environment("AWS_SECRET_ACCESS_KEY");
  if (!access_key && !secret_key) return SourcePtr();
  if (!access_key || !secret_key) {
    return fail(ErrorKind::kPermission,
                "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set");
  }
  return static_source({.access_key = *access_key,
                        .secret_key = *secret_key,
                        .session_token = environment("AWS_SESSION_TOKEN").value_or("")});
}

}  // namespace

Result<SourcePtr> choose_source(const CredentialOptions& options) {
  const Environment& environment = options.environment;
  // A profile that an option names is meant before all else.
  if (options.profile.empty()) {
    LAMINA_ASSIGN_OR_RETURN(SourcePtr source, source_of_environment(options));
    if (source) return source;
  }
  LAMINA_ASSIGN_OR_RETURN(const Profiles profiles, read_profiles(options));
  LAMINA_ASSIGN_OR_RETURN(SourcePtr source, source_of_profile(profiles, options));
  if (source) return source;
  const auto token_file = environment("AWS_WEB_IDENTITY_TOKEN_FILE");
  const auto role = environment("AWS_ROLE_ARN");
  if (token_file && role) {
    return web_identity_source({.token_file = *token_file,
                                .role = *role,
                                .session_name = environment("AWS_ROLE_SESSION_NAME").value_or(""),
                                .region = options.region},
                               environment);
  }
  if (environment("AWS_CONTAINER_CREDENTIALS_FULL_URI") ||
      environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")) {
    return container_source(environment);
  }
  if (environment("AWS_EC2_METADATA_DISABLED").value_or("") == "true") {
    return with_remedy(fail(ErrorKind::kPermission, "no credentials are configured"),
                       "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE");
  }
  return metadata_source(environment);
}

std::optional<std::string> configured_region(const CredentialOptions& options) {
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (auto region = options.environment(name)) return region;
  }
  const auto profiles = read_profiles(options);
  const std::string region = profiles ? profiles->value("region") : std::string();
  if (region.empty()) return std::nullopt;
  return region;
}

}  // namespace lamina::object_store
