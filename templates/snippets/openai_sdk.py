from openai import OpenAI

client = OpenAI(base_url="{{ base_url }}/v1", api_key="{{ key }}")
answer = client.responses.create(model="gpt-5.5", input="Say hello.")
print(answer.output_text)
