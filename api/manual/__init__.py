"""The manual and the OpenAPI document, both made of the URL map."""
