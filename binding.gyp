{
  # For those who run `node-gyp rebuild`: the addon itself is built by cmake-js (see CMakeLists.txt).
  "targets": [
    {
      "target_name": "blip_retrieval_native",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/cmake/Release/torch.node"],
          "action": ["node", "node_modules/cmake-js/bin/cmake-js", "compile", "--out", "build/cmake"]
        }
      ]
    }
  ]
}
