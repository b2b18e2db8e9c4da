package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

const plainCollectorName = "plain-collector"

// plainCollector is the program of that name: a collector of the Management Activity API as people write them
// in an afternoon. It lists the last day of each content type, fetches one blob after the other,
// gives each record a few fields, and posts them as lines, one body of a thousand at a time. It keeps no position,
// remembers nothing, knows no mapping, and gives up at the first fault. It prints how many records it has
// delivered to the URL that it is given.
func plainCollector() {
	n, err := collectPlainly(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, n)
}

func collectPlainly(destination string) (sent int, err error) {
	manage := os.Getenv("MS_MANAGE_BASE")
	answered, err := http.PostForm(os.Getenv("MS_LOGIN_BASE")+"/"+os.Getenv("TENANT_ID")+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {os.Getenv("CLIENT_ID")}, "client_secret": {os.Getenv("CLIENT_SECRET")},
		"scope": {manage + "/.default"}})
	if err != nil {
		return 0, err
	}
	var token struct {
		Text string `json:"access_token"`
	}
	err = json.NewDecoder(answered.Body).Decode(&token)
	answered.Body.Close() //nolint:errcheck // it was read
	if err != nil {
		return 0, err
	}
	ask := func(method, url string, into any) (next string, err error) {
		request, err := http.NewRequest(method, url, nil)
		if err != nil {
			return "", err
		}
		query := request.URL.Query()
		query.Set("PublisherIdentifier", os.Getenv("TENANT_ID"))
		request.URL.RawQuery = query.Encode()
		request.Header.Set("Authorization", "Bearer "+token.Text)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close() //nolint:errcheck // it was read
		if answer.StatusCode != http.StatusOK {
			return "", fmt.Errorf("%s %s: %s", method, url, answer.Status)
		}
		return answer.Header.Get("NextPageUri"), json.NewDecoder(answer.Body).Decode(into)
	}
	var lines bytes.Buffer
	held := 0
	post := func() error {
		if held == 0 {
			return nil
		}
		answer, err := http.Post(destination, "application/x-ndjson", bytes.NewReader(lines.Bytes()))
		if err != nil {
			return err
		}
		defer answer.Body.Close()        //nolint:errcheck // it was read
		io.Copy(io.Discard, answer.Body) //nolint:errcheck // the status says it
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", destination, answer.Status)
		}
		sent += held
		held = 0
		lines.Reset()
		return nil
	}
	encoder := json.NewEncoder(&lines)
	feed := manage + "/api/v1.0/" + os.Getenv("TENANT_ID") + "/activity/feed/subscriptions"
	const form = "2006-01-02T15:04:05"
	now := time.Now().UTC()
	for _, content := range []string{"Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"} {
		var subscription any
		if _, err := ask("POST", feed+"/start?contentType="+content, &subscription); err != nil {
			return sent, err
		}
		next := feed + "/content?contentType=" + content + "&startTime=" + now.Add(-24*time.Hour).Format(form) + "&endTime=" + now.Format(form)
		for next != "" {
			var blobs []struct{ ContentURI string }
			if next, err = ask("GET", next, &blobs); err != nil {
				return sent, err
			}
			for _, blob := range blobs {
				var records []map[string]any
				if _, err := ask("GET", blob.ContentURI, &records); err != nil {
					return sent, err
				}
				for _, record := range records {
					record["vendor"], record["source_name"] = "Microsoft", content
					record["timestamp"], record["user_name"], record["operation"] = record["CreationTime"], record["UserId"], record["Operation"]
					if err := encoder.Encode(record); err != nil {
						return sent, err
					}
					if held++; held == 1000 {
						if err := post(); err != nil {
							return sent, err
						}
					}
				}
			}
		}
	}
	return sent, post()
}
