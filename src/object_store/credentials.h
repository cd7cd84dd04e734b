// Where credentials come from, as the SDKs of AWS find them. The first of these that is configured
// is used, and its errors are final:
//
//  1. the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
//  2. a profile of the shared files: keys; or role_arn and web_identity_token_file
//  3. web identity: AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN (AssumeRoleWithWebIdentity)
//  4. a container: AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI
//  5. the instance's metadata service (IMDSv2), unless AWS_EC2_METADATA_DISABLED is true
//
// Not supported: roles that are assumed from another profile, SSO, credential_process.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "object_store/credential_source.h"

namespace lamina::object_store {

struct CredentialOptions {
  std::string profile{};  ///< "": AWS_PROFILE, else "default"
  Environment environment;
  std::string region{};  ///< of the token service
};

/// The source that the environment and the files name. kPermission if a file or a profile that is
/// named is missing or incomplete.
Result<std::unique_ptr<CredentialSource>> choose_source(const CredentialOptions& options);

/// The region of the environment or of the profile; nullopt if none is set.
std::optional<std::string> configured_region(const CredentialOptions& options);

}  // namespace lamina::object_store
