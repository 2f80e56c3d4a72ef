//! What a browser recorded while pages were open: its console and its requests.

use serde_json::Value;
use std::collections::HashMap;

/// Everything in these records that should not be there, except what is ignored. `site` is the only origin to which
/// pages may send requests.
pub(super) fn complaints(
    console: &[Value],
    network: &[Value],
    site: &str,
    ignored: &[String],
) -> Vec<String> {
    let console = console.iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
    let console = console.map(|entry| format!("console: {} {}", entry["level"], entry["message"]));
    let mut urls = HashMap::new();
    let mut requests = Vec::new();
    for entry in network {
        let entry: Value =
            serde_json::from_str(entry["message"].as_str().unwrap_or_default()).unwrap_or_default();
        let (event, params) = (&entry["message"], &entry["message"]["params"]);
        let id = params["requestId"].as_str().unwrap_or_default().to_owned();
        match event["method"].as_str().unwrap_or_default() {
            // The browser's own first page is none of ours.
            "Network.requestWillBeSent" if !starts(&params["documentURL"], site) => {}
            "Network.requestWillBeSent" => {
                let url = &params["request"]["url"];
                if !starts(url, site) && !starts(url, "data:") {
                    requests.push(format!("request to another site: {url}"));
                }
                urls.insert(id, url.clone());
            }
            // Cancelled: by the browser when the reader opens another page, or by the page.
            "Network.loadingFailed" if params["errorText"] == "net::ERR_ABORTED" => {}
            "Network.loadingFailed" => {
                let Some(url) = urls.get(&id) else { continue };
                requests.push(format!(
                    "request failed: {url} {} {}",
                    params["errorText"], params["blockedReason"]
                ));
            }
            "Network.responseReceived" if params["response"]["status"].as_u64() >= Some(400) => {
                let response = &params["response"];
                requests
                    .push(format!("request refused: {} status of {}", response["url"], response["status"]));
            }
            _ => {}
        }
    }
    let all = console.chain(requests);
    all.filter(|complaint| !ignored.iter().any(|text| complaint.contains(text.as_str()))).collect()
}

fn starts(text: &Value, with: &str) -> bool {
    text.as_str().is_some_and(|text| text.starts_with(with))
}
