curl {{ base_url }}/v1/responses \
  -H "Authorization: Bearer {{ key }}" \
  -H "Content-Type: application/json" \
  -d '{"model": "gpt-5.5", "input": "Say hello."}'
