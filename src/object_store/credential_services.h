// Sources of temporary credentials that are asked over HTTP. Each answers within seconds or fails.
#pragma once

#include <memory>
#include <string>

#include "lamina/result.h"
#include "object_store/credential_source.h"

namespace lamina::object_store {

struct WebIdentity {
  std::string token_file;  ///< read anew each time: Kubernetes replaces it
  std::string role;
  std::string session_name{};  ///< "": "lamina"
  std::string region{};        ///< "": "us-east-1"
};

/// AssumeRoleWithWebIdentity of the token service: AWS_ENDPOINT_URL_STS, or that of the region.
std::unique_ptr<CredentialSource> web_identity_source(WebIdentity identity,
                                                      const Environment& environment);

/// The agent of ECS and EKS. kPermission if the URI is neither https, nor this host, nor one of
/// their agents: the token must not be sent elsewhere.
Result<std::unique_ptr<CredentialSource>> container_source(const Environment& environment);

/// IMDSv2 at AWS_EC2_METADATA_SERVICE_ENDPOINT, or 169.254.169.254.
std::unique_ptr<CredentialSource> metadata_source(const Environment& environment);

}  // namespace lamina::object_store
