// The page around the scripts of assets/.
#pragma once

#include <string>
#include <string_view>

namespace lamina::ui {

/// Untrusted text for HTML: on one line, with control characters and characters that change the
/// text direction made visible (escaped_line()), and without markup.
std::string html_text(std::string_view text);

/// The console's page; its scripts and styles are files beside it. Without scripts the browser goes
/// to "plain". `action_token` is for its requests that change something; empty: it has none.
std::string console_page(std::string_view action_token);

/// A page in one file. `data` is JSON; `tables` is HTML that is shown where no script runs.
std::string report_page(std::string_view title, const std::string& data, const std::string& tables);

/// A page of tables without a script; its styles are in a file, `style_href`.
std::string plain_page(std::string_view title, const std::string& body,
                       std::string_view style_href);

}  // namespace lamina::ui
