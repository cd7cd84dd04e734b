// The page around the scripts of assets/.
#pragma once

#include <string>
#include <string_view>

namespace lamina::ui {

/// Untrusted text for HTML: on one line, with control characters and characters that change the
/// text direction made visible (escaped_line()), and without markup.
std::string html_text(std::string_view text);

/// The console's page; its script, kConsoleScript, is a file beside it. `style_nonce` is what the
/// page's policy permits styles by. Without
/// scripts the browser goes to "plain". `action_token` is for its requests that change something;
/// empty: it has none.
std::string console_page(std::string_view action_token, std::string_view style_nonce);

/// The scripts of the page as one file: as many requests as there are scripts would delay its first
/// paint.
inline constexpr std::string_view kConsoleScript = "page.js";
std::string console_script();

/// A page in one file. `data` is JSON; `tables` is HTML that is shown where no script runs.
std::string report_page(std::string_view title, const std::string& data, const std::string& tables);

/// A page of tables without a script; its styles are in a file, `style_href`.
std::string plain_page(std::string_view title, const std::string& body,
                       std::string_view style_href);

}  // namespace lamina::ui
