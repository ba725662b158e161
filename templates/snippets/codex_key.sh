export CODEXPROXY_KEY="{{ key }}"
